"""What this package needs, extra by extra, against what is installed, in range and can be imported."""

import importlib
import json
import tomllib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from fuseloom.errors import MissingExtraError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["BASE", "State", "check", "checkout", "needs"]

BASE = ""
"""The extra that everybody has: what the package itself needs."""
_NOT_THE_PACKAGE = {"benchmarks", "docs", "examples", "test", "tests"}
_SUFFIXES = (".py", ".so", ".pyd")


@dataclass(frozen=True, kw_only=True)
class State:
    """How the packages of one extra are.

    Example:
        >>> State(missing=["ray"]).complete, State().complete
        (False, True)
    """

    missing: Sequence[str] = ()
    """Not installed."""
    wrong: Mapping[str, str] = field(default_factory=dict)
    """Of another version than is needed: package -> what is there and what is needed."""
    broken: Mapping[str, str] = field(default_factory=dict)
    """Installed, but cannot be imported: package -> why."""

    @property
    def complete(self) -> bool:
        """Whether nothing is amiss."""
        return not (self.missing or self.wrong or self.broken)


def needs(package: str = "fuseloom") -> dict[str, list["Requirement"]]:
    """Extra -> what it asks for on this machine, ``BASE`` first; without ``all``, which repeats the others.

    A checkout that is installed in place is asked for its ``pyproject.toml``: the metadata beside the
    installed packages are as old as the last ``pip install``.

    Raises:
        MissingExtraError: the library that reads requirements is not installed.
    """
    try:
        from packaging.requirements import Requirement
        from packaging.utils import canonicalize_name
    except ImportError:
        raise MissingExtraError("doctor needs packaging. Run: pip install 'fuseloom[workbench]'") from None
    found: dict[str, list[Requirement]] = {}
    for extra, lines in _lines(distribution(package)).items():
        own = [Requirement(line) for line in lines]
        here = [one for one in own if one.marker is None or one.marker.evaluate({"extra": extra})]
        found[extra] = sorted(here, key=lambda one: canonicalize_name(one.name))
    return found


def checkout(package: str = "fuseloom") -> Path | None:
    """The folder that the package is installed in place from; None for an ordinary installation."""
    found = json.loads(distribution(package).read_text("direct_url.json") or "{}")
    if not found.get("dir_info", {}).get("editable"):
        return None
    folder = Path(url2pathname(urlsplit(found["url"]).path))
    return folder if (folder / "pyproject.toml").is_file() else None


def check(requirements: Iterable["Requirement"]) -> State:
    """Look each requirement up, compare its version, and import it."""
    missing: list[str] = []
    wrong: dict[str, str] = {}
    broken: dict[str, str] = {}
    for one in requirements:
        try:
            found = distribution(one.name)
        except PackageNotFoundError:
            missing.append(one.name)
            continue
        if not one.specifier.contains(found.version, prereleases=True):
            wrong[one.name] = f"{found.version} is installed, needs {one.specifier}"
        elif reason := _why_broken(one.name):
            broken[one.name] = reason
    return State(missing=missing, wrong=wrong, broken=broken)


def _lines(found: Distribution) -> dict[str, list[str]]:
    place = checkout(found.metadata["Name"])
    if place is not None:
        project = tomllib.loads((place / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = {name: list(lines) for name, lines in project["optional-dependencies"].items()}
        lines = {BASE: list(project["dependencies"]), **extras}
    else:
        extra_names = found.metadata.get_all("Provides-Extra") or []
        told = found.requires or []
        lines = {BASE: [line for line in told if "extra ==" not in line]}
        lines |= {name: [line for line in told if _is_of(line, name)] for name in extra_names}
    return {name: own for name, own in sorted(lines.items()) if name != "all"}


def _is_of(line: str, extra: str) -> bool:
    return any(f"extra == {quote}{extra}{quote}" in line for quote in "'\"")


@lru_cache
def _why_broken(package: str) -> str | None:
    """Why a package cannot be imported, in one line; None where it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for module in _modules(distribution(package)):
                importlib.import_module(module)
    except Exception as error:  # what a broken package raises can be anything
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def _modules(found: Distribution) -> Iterator[str]:
    """What a distribution lets one import at the top, by its own list of files."""
    names: dict[str, None] = {}
    for file in found.files or ():
        top, *rest = file.parts
        if not rest and file.suffix in _SUFFIXES:
            names[top.partition(".")[0]] = None
        elif rest == ["__init__.py"]:
            names[top] = None
    yield from (name for name in names if name.isidentifier() and not _is_private(name))


def _is_private(name: str) -> bool:
    return name.startswith("_") or name in _NOT_THE_PACKAGE
