"""Every code block of the documentation runs."""

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from fuseloom.comparison.emap_table import EmapTableConfig
from fuseloom.comparison.experiments import read_experiment
from fuseloom.comparison.findings import Findings
from fuseloom.comparison.result import (
    Comparison,
    DataSummary,
    Entry,
    Interval,
    ModalitySummary,
    Recommendation,
)
from fuseloom.comparison.sweep import SweepConfig
from fuseloom.diagnose.health import Health
from fuseloom.report import to_json
from fuseloom.train.augmentation import Augmentation
from fuseloom.train.recipe import read_recipe

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
TRAINS = {"console": {"diagnosis", "muse", "quickstart", "remedies"}, "python": {"metrics", "workbench"}}
"""Pages whose commands or examples compare models."""
WORKED = [ROOT / "docs" / f"{name}.md" for name in ("segmentation", "translation", "tutorial")]
"""Pages whose blocks build on each other, whatever their language."""


def blocks(page: Path, language: str) -> list[str]:
    return [code for found, code in FENCE.findall(page.read_text("utf-8")) if found == language]


def pages_with(language: str) -> list[object]:
    return [
        pytest.param(
            page,
            id=page.stem,
            marks=[pytest.mark.slow] if page.stem in TRAINS.get(language, ()) else [],
        )
        for page in PAGES
        if blocks(page, language) and page not in WORKED
    ]


def commands(*blocks: str) -> list[tuple[str, str]]:
    """Each command of console blocks with the output that is shown."""
    found = []
    for block in blocks:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


def run_commands(found: list[tuple[str, str]], folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command, expected in found:
        run = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, f"$ {command}\n{run.stdout}{run.stderr}"
        if expected:
            assert doctest.OutputChecker().check_output(expected, run.stdout, FLAGS), run.stdout


def run_python(source: str, page: Path, names: dict[str, Any]) -> None:
    test = doctest.DocTestParser().get_doctest(source, names, page.name, str(page), 0)
    assert test.examples
    said: list[str] = []
    results = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append, clear_globs=False)
    names.update(test.globs)
    assert results.failed == 0, "".join(said)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_is_of_a_kind_that_is_checked(page: Path) -> None:
    languages = {language for language, _ in FENCE.findall(page.read_text("utf-8"))}
    assert languages <= {"python", "console", "bash", "csv", "yaml"}


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_examples_run(page: Path, workplace: Path, comparison: Comparison) -> None:
    (workplace / "report.json").write_text(to_json(comparison), encoding="utf-8")
    run_python("\n".join(blocks(page, "python")), page, {})


@pytest.mark.timeout(1800)  # of the quickstart eight minutes of work, in two processes
@pytest.mark.parametrize("page", [p for p in pages_with("console") if p.id != "README"])
def test_console_examples_run(page: Path, workplace: Path) -> None:
    run_commands(commands(*blocks(page, "console")), workplace)


@pytest.mark.slow
@pytest.mark.timeout(900)  # two minutes of work, in many processes
@pytest.mark.parametrize("page", WORKED, ids=lambda page: page.stem)
def test_a_worked_page_runs_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    names: dict[str, Any] = {}
    try:
        for language, block in FENCE.findall(page.read_text("utf-8")):
            if language == "console":
                run_commands(commands(block), tmp_path)
            else:
                run_python(block, page, names)
    finally:
        for process in names.values():
            if isinstance(process, subprocess.Popen):
                process.kill()


def test_the_readme_shows_commands_that_another_page_runs() -> None:
    run = {
        command
        for page in PAGES
        if page.stem != "README"
        for command, _ in commands(*blocks(page, "console"))
    }
    shown = {command for command, _ in commands(*blocks(ROOT / "README.md", "console"))}
    assert shown
    assert shown <= run


@pytest.mark.parametrize("page", pages_with("yaml"))
def test_recipes_and_experiments_are_read_with_all_their_settings(page: Path, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(page, "yaml")):
        file = tmp_path / f"{number}.yaml"
        file.write_text(block, encoding="utf-8")
        if not block.startswith("kind: "):
            Augmentation(read_recipe(str(file)).fit.augment)
            continue
        config = read_experiment(str(file))
        assert not isinstance(config, EmapTableConfig)
        ways: Iterable[Mapping[str, str]]
        if isinstance(config, SweepConfig):
            ways = [{key: value} for key, values in config.grid.items() for value in values]
        else:
            ways = config.variants.values()
        for way in ways:
            changes = [f"{key}={value}" for key, value in way.items()]
            read_recipe(config.terms.recipe, [*config.terms.settings, *changes])


@pytest.mark.parametrize("page", pages_with("bash"))
def test_commands_that_install_or_build_name_what_there_is(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for line in "".join(blocks(page, "bash")).splitlines():
        words = line.partition("#")[0].split()
        assert words[:2] == ["pip", "install"] or (words[0] == "make" and set(words[1:]) <= targets), line


@pytest.mark.parametrize("page", pages_with("csv"))
def test_a_table_that_is_shown_is_the_one_that_is_used(page: Path, workplace: Path) -> None:
    shown = blocks(page, "csv")[0].splitlines()
    assert (workplace / "reviews.csv").read_text("utf-8").splitlines()[0] == shown[0]


def test_links_between_files_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CHANGELOG.md", ROOT / "SECURITY.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).is_file(), f"{page.name}: {target}"


@pytest.fixture
def comparison() -> Comparison:
    """A comparison of two models, as a report holds it."""
    score = Interval(mean=0.9, low=0.8, high=1.0)

    def entry(name: str) -> Entry:
        return Entry(
            name=name,
            role="fusion" if name == "concat" else "unimodal",
            modalities=("text",),
            interaction="additive",
            learning_rate=1e-3,
            valid=score,
            test=score,
            valid_by_run=(0.9,),
            test_by_run=(0.9,),
            parameters=10,
            train_s=1.0,
            latency_ms=1.0,
            memory_mb=1.0,
        )

    recommendation = Recommendation(
        name="concat",
        sentence="Use concat.",
        verdict="fusing pays",
        margin=0.01,
        best_unimodal="text",
        best_fusion="concat",
        gain=score,
        rows_needed=None,
        contenders=(),
    )
    health = Health(balance={}, spread={}, missing={}, constant={}, num_duplicates=0, duplicates=())
    data = DataSummary(
        name="reviews",
        modalities=(ModalitySummary(name="text", kind="text", shape="text", missing=0),),
        target="score",
        rows={"train": 1, "valid": 1, "test": 1},
        folds=1,
        set_aside=(),
        notes=(),
    )
    return Comparison(
        format_version=2,
        data=data,
        task="classification",
        metric="accuracy",
        higher_is_better=True,
        seeds=1,
        entries=(entry("concat"), entry("text")),
        recommendation=recommendation,
        reliance=(),
        findings=Findings(
            subsets=(),
            curves=(),
            calibration=(),
            confusion=(),
            fitted=(),
            disagreements=(),
            health=health,
        ),
        command="fuseloom compare",
        config={},
        environment={"torch": torch.__version__},
        total_s=1.0,
    )
