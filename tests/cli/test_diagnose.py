"""diagnose as a person uses it."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fuseloom.cli.group import fuseloom


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(fuseloom, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "digits"
    quick = ["--set", "fit.max_epochs=3", "--set", "trainer.accelerator=cpu", "--fusion", "concat"]
    assert run("train", "digits", "--out", folder, *quick).exit_code == 0
    return folder


def test_what_was_found_is_said_in_words(model: Path, tmp_path: Path) -> None:
    done = run("diagnose", model, "digits", "--only", "emap,shapley", "--out", tmp_path / "looked")
    assert done.exit_code == 0, done.output
    assert "diagnosing: emap" in done.stderr
    assert "test rows of the run" in done.stderr
    assert "concat" in done.stdout
    assert "top" in done.stdout
    assert (tmp_path / "looked" / "diagnosis.html").read_text().startswith("<!doctype html>")
    held = json.loads((tmp_path / "looked" / "diagnosis.json").read_text())
    assert held["emap"]["before"]["mean"] > 0.3
    assert held["pid"] == []


def test_json_is_the_whole_diagnosis_of_rows_drawn_by_the_seed(model: Path) -> None:
    arguments = ("diagnose", model / "model", "digits", "--only", "reliance", "--rows", 50, "--json")
    assert "all rows: nothing says whether the model learnt" in run(*arguments).stderr
    first = json.loads(run(*arguments).stdout)
    assert (first["rows"], first["modalities"]) == (50, ["top", "bottom"])
    assert json.loads(run(*arguments).stdout) == first
    assert json.loads(run(*arguments, "--seed", 1).stdout) != first


def test_an_unknown_diagnosis_and_rows_without_a_target_are_refused(model: Path, tmp_path: Path) -> None:
    done = run("diagnose", model, "digits", "--only", "emaps")
    assert done.exit_code == 1
    assert "Did you mean 'emap'" in done.stderr
    bare = run("diagnose", model, tmp_path / "none.csv")
    assert bare.exit_code == 1
    assert "none.csv" in bare.stderr
