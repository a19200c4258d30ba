"""``fuseloom doctor``: what is installed, what is missing, and what there is to compute on."""

import json
import platform
import shutil
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

import click

__all__ = ["diagnosis", "doctor"]

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@click.command(
    epilog="""\b
Examples:
  $ fuseloom doctor
  $ fuseloom doctor --json"""
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(as_json: bool) -> None:
    """Say which versions and extras are installed, which are missing and how to get them, and the devices."""
    found = diagnosis()
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for name, value in found["versions"].items():
        click.echo(f"{name:12} {value}")
    for name, extra in found["extras"].items():
        missing = ", ".join(extra["missing"])
        click.echo(
            f"[{name}]".ljust(13) + (f"missing {missing}: {extra['install']}" if missing else "complete")
        )
    click.echo(f"{'devices':12} {', '.join(found['devices'])}")
    click.echo(f"{'threads':12} {found['threads']} of {found['cores']} cores")
    click.echo(f"{'browser':12} {found['browser'] or 'none; only tests of the report need one'}")


def diagnosis() -> dict[str, Any]:
    """What `doctor` says, as plain values."""
    import os

    import torch

    devices = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    return {
        "versions": {
            "fuseloom": version("fuseloom"),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": version("numpy"),
            "system": platform.platform(),
        },
        "extras": {name: _extra(name, needs) for name, needs in sorted(_extras().items())},
        "devices": ["cpu", *devices, *(["mps"] if torch.backends.mps.is_available() else [])],
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "browser": next((path for name in _BROWSERS if (path := shutil.which(name))), None),
    }


def _extras() -> dict[str, list[str]]:
    """Extra -> its requirements, as the package's own metadata tell them."""
    found: dict[str, list[str]] = {}
    for line in requires("fuseloom") or []:
        need, _, condition = line.partition(";")
        if "extra ==" in condition:
            extra = condition.partition("extra ==")[2].strip(" '\"()")
            found.setdefault(extra, []).append(need.strip())
    return found


def _extra(name: str, needs: list[str]) -> dict[str, Any]:
    missing = [package for package in map(_package, needs) if not _is_installed(package)]
    return {"missing": missing, "install": f"pip install 'fuseloom[{name}]'"}


def _package(requirement: str) -> str:
    end = next((i for i, sign in enumerate(requirement) if not (sign.isalnum() or sign in "-_.")), None)
    return requirement[:end]


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
