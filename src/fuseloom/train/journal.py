"""The run folder: what was asked, and every finished piece of work, so that none is done twice."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from fuseloom.errors import RunError

__all__ = ["RunFolder", "environment"]

RUN_FORMAT = 1
_WEIGHTS = "weights"


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """A folder with ``config.json`` (what was asked) and ``journal.jsonl`` (what is finished).

    Opening it again with the same request continues; each finished piece of work is one line of the journal,
    written after the files it speaks of.
    """

    path: Path
    finished: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Key -> journal entry."""

    @classmethod
    def open(cls, path: Path, request: Mapping[str, Any], *, overwrite: bool = False) -> Self:
        """Create the folder, or continue one that holds the same request.

        Raises:
            RunError: the folder holds something else.
        """
        wanted = {"format_version": RUN_FORMAT, "request": json.loads(json.dumps(request))}
        held = _held(path)
        if held is None and path.is_dir() and any(path.iterdir()):
            raise RunError(
                f"{path} must be a run folder or empty, got other files in it. Choose another --out."
            )
        if overwrite:
            shutil.rmtree(path, ignore_errors=True)
        elif held is not None:
            _check_same(path, held, wanted)
        path.mkdir(parents=True, exist_ok=True)
        config = path / "config.json"
        config.write_text(json.dumps(wanted | {"environment": environment()}, indent=1), encoding="utf-8")
        journal = path / "journal.jsonl"
        finished = {key: entry for key, entry in _read_journal(journal).items() if _is_whole(path, entry)}
        lines = [json.dumps({"key": key, **entry}) + "\n" for key, entry in finished.items()]
        # A kill in the middle leaves the old journal.
        (path / "journal.part").write_text("".join(lines), encoding="utf-8")
        (path / "journal.part").replace(journal)
        return cls(path=path, finished=finished)

    def record(self, key: str, entry: Mapping[str, Any]) -> None:
        """Note a finished piece of work; it survives a kill from here on."""
        self.finished[key] = dict(entry)
        with (self.path / "journal.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, **entry}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def file(self, key: str, suffix: str = ".safetensors") -> Path:
        """Where the results of the work ``key`` are stored."""
        folder = self.path / _WEIGHTS
        folder.mkdir(exist_ok=True)
        return folder / (hashlib.sha256(key.encode()).hexdigest()[:16] + suffix)


def environment() -> dict[str, str]:
    """Versions, commit and machine that a number depends on."""
    import torch

    return {
        "python": platform.python_version(),
        "fuseloom": version("fuseloom"),
        "commit": _commit(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "machine": platform.machine(),
        "cpu_count": str(os.cpu_count()),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def _commit() -> str:
    home = Path(__file__).parent
    command = ["git", "-C", str(home), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "not a checkout"


def _held(path: Path) -> dict[str, Any] | None:
    """What the configuration of a run folder says; None where the folder is none."""
    try:
        held = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return held if isinstance(held, dict) and "request" in held else None


def _check_same(path: Path, held: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if held["format_version"] != wanted["format_version"]:
        raise RunError(f"{path} must be a run of this version, got another. Choose another --out.")
    request, asked = held["request"], wanted["request"]
    if changed := sorted(key for key in {*request, *asked} if request.get(key) != asked.get(key)):
        raise RunError(
            f"{path} holds a run with other settings or data: {', '.join(changed)} differ. "
            "Choose another --out, or pass --overwrite."
        )


def _is_whole(path: Path, entry: Mapping[str, Any]) -> bool:
    """Whether the file that an entry speaks of is there."""
    return "weights" not in entry or (path / _WEIGHTS / entry["weights"]).is_file()


def _read_journal(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    entries = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # a kill in the middle of a write leaves half a last line
        entries[entry.pop("key")] = entry
    return entries
