"""No public name vanishes unnoticed: `api_surface.json` lists them all.

After a deliberate change, rewrite it with ``python tests/test_api_surface.py`` and say so in CHANGELOG.md.
"""

import importlib
import json
import pkgutil
from pathlib import Path

import fuseloom
from fuseloom.registry import FUSION_KINDS, list_names

FILE = Path(__file__).with_name("api_surface.json")


def surface() -> dict[str, list[str]]:
    """Public names of the package and of its public modules, and the registered methods by kind."""
    found = [m.name for m in pkgutil.iter_modules(fuseloom.__path__) if not m.name.startswith("_")]
    names = {"fuseloom": fuseloom.__all__}
    for name in found:
        module = importlib.import_module(f"fuseloom.{name}")
        names[module.__name__] = sorted(getattr(module, "__all__", []))
    return names | {f"methods of kind {kind}": list_names(kind=kind) for kind in FUSION_KINDS}


def entries(names: dict[str, list[str]]) -> set[str]:
    return {f"{home}: {name}" for home, inner in names.items() for name in inner}


def test_no_public_name_has_vanished() -> None:
    gone = entries(json.loads(FILE.read_text("utf-8"))) - entries(surface())
    assert not gone, "a removed name lives one minor release as a warning that names its successor"


def test_every_public_name_is_guarded() -> None:
    new = entries(surface()) - entries(json.loads(FILE.read_text("utf-8")))
    assert not new, "run: python tests/test_api_surface.py"


if __name__ == "__main__":
    FILE.write_text(json.dumps(surface(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
