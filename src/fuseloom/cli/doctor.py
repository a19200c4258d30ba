"""``fuseloom doctor``: what is installed, what is missing or broken, and what there is to compute on."""

import json
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import click

from fuseloom.cli.installed import BASE, State, check, checkout, needs

__all__ = ["diagnosis", "doctor"]

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_WIDE = 12


@click.command(
    epilog="""\b
Examples:
  $ fuseloom doctor
  $ fuseloom doctor --json

\b
Exit status:
  0  all that is installed can be used; an extra that is missing is no fault
  1  a package that is installed is broken or of a version that does not do"""
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(as_json: bool) -> None:
    """Say which versions and extras are installed, which are missing or broken, and the devices.

    Every package is imported, which takes seconds.
    """
    found = diagnosis()
    click.echo(json.dumps(found, indent=1) if as_json else "\n".join(_text(found)))
    states = [found["base"], *found["extras"].values()]
    faulty = found["base"]["missing"] or any(state["wrong"] or state["broken"] for state in states)
    sys.exit(1 if faulty else 0)


def diagnosis() -> dict[str, Any]:
    """What `doctor` says, as plain values."""
    import os

    import torch

    place = checkout()
    devices = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    states = {extra: {**asdict(check(own)), "install": _install(extra)} for extra, own in needs().items()}
    return {
        "versions": {
            "fuseloom": version("fuseloom"),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": version("numpy"),
            "system": platform.platform(),
        },
        "checkout": None if place is None else str(place),
        "base": states.pop(BASE),
        "extras": states,
        "devices": ["cpu", *devices, *(["mps"] if torch.backends.mps.is_available() else [])],
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "browser": next((path for name in _BROWSERS if (path := shutil.which(name))), None),
    }


def _install(extra: str) -> str:
    place, asked = checkout(), f"[{extra}]" if extra != BASE else ""
    return f"pip install 'fuseloom{asked}'" if place is None else f"pip install -e '{place}{asked}'"


def _text(found: Mapping[str, Any]) -> Iterator[str]:
    for name, value in found["versions"].items():
        inside = f", installed in place from {found['checkout']}" if found["checkout"] else ""
        yield f"{name:{_WIDE}} {value}{inside if name == 'fuseloom' else ''}"
    yield from _state("base", found["base"])
    for name, state in found["extras"].items():
        yield from _state(f"[{name}]", state)
    yield f"{'devices':{_WIDE}} {', '.join(found['devices'])}"
    yield f"{'threads':{_WIDE}} {found['threads']} of {found['cores']} cores"
    yield f"{'browser':{_WIDE}} {found['browser'] or 'none; only tests of the report need one'}"


def _state(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    """A line that says all is well, or one for each thing that is not and one that mends it."""
    state = State(missing=found["missing"], wrong=found["wrong"], broken=found["broken"])
    if state.complete:
        yield f"{name:{_WIDE}} complete"
        return
    said = [f"missing: {', '.join(state.missing)}"] if state.missing else []
    said += [f"{package} does not fit: {what}" for package, what in state.wrong.items()]
    said += [f"{package} is broken: {why}" for package, why in state.broken.items()]
    said += [f"to mend it: pip install --force-reinstall {' '.join(state.broken)}"] if state.broken else []
    said += [f"to get it: {found['install']}"] if state.missing or state.wrong else []
    for place, line in enumerate(said):
        yield f"{'' if place else name:{_WIDE}} {line}"
