"""What an import costs, seen in a fresh interpreter."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "torch",
    "pandas",
    "sklearn",
    "matplotlib",
    "jinja2",
    "lightning",
    "jsonargparse",
    "timm",
    "transformers",
}
HELPED = (
    "compare",
    "convert",
    "data",
    "diagnose",
    "doctor",
    "evaluate",
    "export",
    "predict",
    "recipe",
    "sweep",
    "train",
    "verify",
)
ROOT = Path(__file__).parents[1]


def imported(*arguments: str) -> set[str]:
    """Names of the modules that a run of the interpreter imports."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True
    )
    return {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}


def test_the_watch_sees_an_import_of_torch() -> None:
    assert "torch" in imported("-c", "import fuseloom; fuseloom.Trace")


@pytest.mark.parametrize(
    "call", ["__version__", "list_fusions()", "list_fusions('low_*', kind='merge')", "create"]
)
def test_the_package_and_its_lists_need_nothing_heavy(call: str) -> None:
    seen = imported("-c", f"import fuseloom; fuseloom.{call}")
    assert "fuseloom" in seen
    assert not seen & HEAVY


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), *((command, "--help") for command in HELPED)]
)
def test_the_command_line_explains_itself_without_anything_heavy(arguments: tuple[str, ...]) -> None:
    seen = imported("-m", "fuseloom", *arguments)
    assert "fuseloom.cli" in seen
    assert not seen & HEAVY


@pytest.mark.slow
def test_mypy_refuses_a_name_that_the_package_does_not_have(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import fuseloom\nfuseloom.create\nfuseloom.fuse\n", encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in run.stdout.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert "program.py:3" in errors[0]
    assert 'has no attribute "fuse"' in errors[0]
