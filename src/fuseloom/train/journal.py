"""The run folder: what was asked, and every finished piece of work, so that none is done twice."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from fuseloom.errors import RunError
from fuseloom.train.files import UNFINISHED, digest, reporting, write_whole
from fuseloom.train.lock import LOCK

__all__ = ["RunFolder", "environment", "refuse_foreign", "scratch"]

RUN_FORMAT = 1
_CONFIG, _JOURNAL, _WEIGHTS, _SCRATCH = "config.json", "journal.jsonl", "weights", "scratch"
_CHECKED = "sha256"


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """A folder with ``config.json`` (what was asked) and ``journal.jsonl`` (what is finished).

    Opening it again with the same request continues; each finished piece of work is one line of the journal,
    written after the file it speaks of and with that file's digest. So a kill or a power cut at any moment
    costs the work under way, and nothing that is torn or missing is taken for finished.
    """

    path: Path
    finished: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Key -> journal entry."""

    @classmethod
    def open(cls, path: Path, request: Mapping[str, Any], *, overwrite: bool = False) -> Self:
        """Create the folder, or continue one that holds the same request.

        One process at a time may work on it: see `holding`.

        Args:
            path: The folder.
            request: What the results depend on, as plain JSON values.
            overwrite: Remove the run that it holds first.

        Raises:
            RunError: the folder holds something else, or cannot be written to.
        """
        wanted = {"format_version": RUN_FORMAT, "request": json.loads(json.dumps(request))}
        refuse_foreign(path)
        held = _held(path)
        if held is not None and not overwrite:
            _check_same(path, held, wanted)
        with reporting(path):
            path.mkdir(parents=True, exist_ok=True)
            _clear(path, everything=overwrite)
            config = json.dumps(wanted | {"environment": environment()}, indent=1)
            write_whole(path / _CONFIG, config)
            lines = {line["key"]: line for line in _read_journal(path) if _is_whole(path, line)}
            write_whole(path / _JOURNAL, "".join(map(_as_text, lines.values())))
        return cls(path=path, finished={key: _entry(line) for key, line in lines.items()})

    def record(self, key: str, entry: Mapping[str, Any]) -> None:
        """Note a finished piece of work with its file, if it has one; it survives a kill from here on.

        Raises:
            RunError: the folder cannot be written to.
        """
        path = self.file(key)
        with reporting(self.path / _JOURNAL):
            seal = {_CHECKED: digest(path)} if path.is_file() else {}
            with (self.path / _JOURNAL).open("a", encoding="utf-8") as file:
                file.write(_as_text({"key": key, **seal, **entry}))
                file.flush()
                os.fsync(file.fileno())
        self.finished[key] = dict(entry)

    def file(self, key: str, suffix: str = ".safetensors") -> Path:
        """Where the results of the work ``key`` are stored."""
        path = _file(self.path, key, suffix)
        with reporting(path.parent):
            path.parent.mkdir(exist_ok=True)
        return path


def refuse_foreign(path: Path) -> None:
    """Make sure that a folder may become a run folder, before anything is written to it.

    Raises:
        RunError: it holds other files.
    """
    if _held(path) is None and _is_foreign(path):
        raise RunError(f"{path} must be a run folder or empty, got other files in it. Choose another --out.")


@contextmanager
def scratch(run: Path) -> Iterator[Path]:
    """The place in a run folder for what only the run at work needs; gone behind the context.

    What a killed run left there goes first. It is made when something is written.
    """
    folder = run / _SCRATCH
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
        held = json.loads((path / _CONFIG).read_text(encoding="utf-8"))
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


def _is_foreign(path: Path) -> bool:
    """Whether a folder holds anything but the beginnings of a run that was killed at its first step."""
    ours = {LOCK, _SCRATCH, _CONFIG + UNFINISHED}
    return path.is_dir() and any(file.name not in ours for file in path.iterdir())


def _clear(path: Path, *, everything: bool) -> None:
    """Remove what a kill left behind, or the whole run: journal first, so that nothing counts as finished.

    The configuration stays until it is replaced, because it is what makes the folder a run folder.
    """
    for file in [*path.glob(f"*{UNFINISHED}"), *path.glob(f"{_WEIGHTS}/*{UNFINISHED}")]:
        file.unlink()
    if everything:
        (path / _JOURNAL).unlink(missing_ok=True)
        for file in path.iterdir():
            if file.name in (LOCK, _CONFIG, _SCRATCH):
                continue
            if file.is_dir() and not file.is_symlink():
                shutil.rmtree(file)
            else:
                file.unlink()


def _file(path: Path, key: str, suffix: str = ".safetensors") -> Path:
    return path / _WEIGHTS / (hashlib.sha256(key.encode()).hexdigest()[:16] + suffix)


def _is_whole(path: Path, line: Mapping[str, Any]) -> bool:
    """Whether the file that a line speaks of is there and is the one that was written."""
    if _CHECKED not in line:
        return "weights" not in line
    file = _file(path, line["key"])
    return file.is_file() and digest(file) == line[_CHECKED]


def _entry(line: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in ("key", _CHECKED)}


def _as_text(line: Mapping[str, Any]) -> str:
    return json.dumps(line) + "\n"


def _read_journal(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal; one that a kill or a power cut tore is no JSON, and is left out."""
    try:
        lines = (path / _JOURNAL).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = (_parsed(line) for line in lines)
    return [line for line in found if isinstance(line, dict) and isinstance(line.get("key"), str)]


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
