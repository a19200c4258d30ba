"""diagnose as a person uses it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
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


def test_gradients_are_those_of_the_model_as_it_stands(model: Path) -> None:
    done = run("diagnose", model, "digits", "--only", "gradients", "--rows", 100)
    assert done.exit_code == 0, done.output
    assert "training this model further would work" in done.stdout.lower()
    assert "as it stands  share of top" in done.stdout
    assert "On 100 of these rows, which the training should not have seen, in 3 parts" in done.stdout


def test_an_unknown_diagnosis_and_rows_without_a_target_are_refused(model: Path, tmp_path: Path) -> None:
    done = run("diagnose", model, "digits", "--only", "emaps")
    assert done.exit_code == 1
    assert "Did you mean 'emap'" in done.stderr
    bare = run("diagnose", model, tmp_path / "none.csv")
    assert bare.exit_code == 1
    assert "none.csv" in bare.stderr


QUICK = ("--set", "fit.max_epochs=1", "--set", "trainer.accelerator=cpu")


def test_the_rows_of_the_run_go_before_those_of_the_test_split(tmp_path: Path) -> None:
    run_ = tmp_path / "views"
    assert run("train", "views", "--out", run_, "--fusion", "concat", *QUICK).exit_code == 0
    looked = ("views", "--only", "reliance", "--json")
    of_run, of_split = run("diagnose", run_, *looked), run("diagnose", run_ / "model", *looked)
    assert "the 400 test rows of the run" in of_run.stderr
    assert "the rows of the test split" in of_split.stderr
    assert json.loads(of_run.stdout) == json.loads(of_split.stdout)


def test_the_data_of_the_lecture_are_regressed_whatever_the_model(tmp_path: Path) -> None:
    run_ = tmp_path / "reviews"
    assert run("train", "reviews", "--out", run_, "--fusion", "early_transformer", *QUICK).exit_code == 0
    done = run("diagnose", run_, "reviews", "--only", "interaction_regression,attention,attention_quality")
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    assert (
        "each unit of smiling changes score by +0.681 where critic is 0, and by +1.97 where it is 1" in said
    )
    assert "score of 300 rows of the data, whatever a model predicts." in said
    assert "Attention per modality: not told. The tokens that early_transformer attends to belong" in said
    assert "Does attention follow quality?: not told. The tokens that early_transformer attends" in said


def test_columns_of_a_table_are_regressed_in_their_units(tmp_path: Path) -> None:
    """Of two classes; a cell that is missing leaves its row out."""
    generator = np.random.default_rng(0)
    dose, age = generator.uniform(0, 10, 400), generator.uniform(20, 80, 400)
    odds = -1 + 0.8 * (dose - 5) - 0.02 * (dose - 5) * (age - 20)
    cured = generator.random(400) < 1 / (1 + np.exp(-odds))
    rows = [f"{d:.3f},{a:.1f},{'yes' if c else 'no'}" for d, a, c in zip(dose, age, cured, strict=True)]
    rows[7] = ",33.0,yes"
    table, run_ = tmp_path / "cures.csv", tmp_path / "run"
    table.write_text("\n".join(["dose,age,cured", *rows]), encoding="utf-8")
    columns = ("--target", "cured", "--tabular", "dose=dose", "--tabular", "age=age")
    trained = run("train", table, *columns, "--out", run_, "--fusion", "attention_pool", *QUICK)
    assert trained.exit_code == 0, trained.output
    done = run("diagnose", run_, table, "--only", "interaction_regression,attention_quality", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    fitted = found["interaction_regression"]
    assert (fitted["target"], fitted["family"]) == ("cured = yes", "logistic")
    assert (fitted["rows"], fitted["left_out"]) == (399, 1)
    product = fitted["models"][-1]["coefficients"][-1]
    assert product["term"] == ["dose", "age"]
    assert product["estimate"]["low"] < -0.02 < product["estimate"]["high"]
    assert fitted["slopes"][0]["value"] == pytest.approx(age.mean() - age.std(), abs=1)
    assert [one["modality"] for one in found["attention_quality"]] == ["dose", "age"]
    assert {one["corruption"] for one in found["attention_quality"]} == {"gaussian_noise"}
