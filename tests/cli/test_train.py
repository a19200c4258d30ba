"""train, evaluate, recipe and list as a person uses them."""

import json

import pytest
from click.testing import CliRunner

from fuseloom.cli.group import fuseloom
from fuseloom.cli.recipe import emap_table_text
from fuseloom.comparison.emap_table import Column, EmapTable, Published
from fuseloom.metrics.interval import Interval
from fuseloom.train.recipe import list_recipes

QUICK = ["--set", "fit.max_epochs=2", "--set", "trainer.accelerator=cpu", "--set", "model.dim=8"]


def run(*arguments):
    return CliRunner().invoke(fuseloom, [str(argument) for argument in arguments])


@pytest.fixture
def table(tmp_path):
    words = {"good": "warm and light", "bad": "torn and thin"}
    scores = ["good", "bad"] * 40
    lines = [f"{words[score]},{number % 7},{score}" for number, score in enumerate(scores)]
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(["review,price,score", *lines]), encoding="utf-8")
    return path


def test_a_table_is_trained_on_served_and_scored(table, tmp_path):
    columns = ["--target", "score", "--text", "review", "--tabular", "price", "--fusion", "film"]
    done = run("train", table, *columns, "--seed", 3, "--out", tmp_path / "run", *QUICK)
    assert done.exit_code == 0, done.output
    assert "reviews, seed 3: 2 epochs" in done.stdout
    assert "epoch 2: training loss" in done.stderr
    assert "fusion: film" in (tmp_path / "run" / "config.yaml").read_text()
    assert run("predict", tmp_path / "run", table).stdout.startswith("id,prediction,p_bad,p_good")
    scored = json.loads(run("evaluate", tmp_path / "run", table, "--json").stdout)
    assert scored["all"]["rows"] == 80
    assert set(scored["all"]) >= {"accuracy", "auc", "log_loss"}
    assert "accuracy" in run("evaluate", tmp_path / "run" / "model", table).stdout


def test_the_result_as_json_and_a_changed_recipe(tmp_path):
    quick = [*QUICK, "--fraction", "0.2", "--json"]
    done = run("train", "digits", "--set", "model.fusion=sum", "--out", tmp_path / "run", *quick)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"]["train"] < 300
    again = run("train", "digits", "--out", tmp_path / "run", *quick)
    assert again.exit_code == 1
    assert "Choose another --out, or pass --overwrite" in again.stderr


def test_how_steps_are_taken_has_options_of_its_own(tmp_path):
    steps = ["--schedule", "linear", "--warmup", "0.25", "--clip-norm", "0", "--fraction", "0.2"]
    done = run("train", "digits", "--out", tmp_path / "run", *QUICK, *steps)
    assert done.exit_code == 0, done.output
    resolved = (tmp_path / "run" / "config.yaml").read_text()
    assert all(f"\n  {line}\n" in resolved for line in ("schedule: linear", "warmup: 0.25", "clip_norm: 0.0"))
    wrong = run("train", "digits", "--schedule", "step", "--out", tmp_path / "other")
    assert wrong.exit_code == 1
    assert "schedule" in wrong.stderr


def test_a_setting_that_is_none_is_answered_in_one_line(tmp_path):
    done = run("train", "digits", "--set", "fit.lrr=1", "--out", tmp_path / "run")
    assert done.exit_code == 1
    assert "Did you mean 'fit.lr'?" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_rows_are_scored_split_by_split_where_they_say_it(table, tmp_path):
    splits = ["train"] * 48 + ["valid"] * 16 + ["test"] * 16
    head, *rows = table.read_text(encoding="utf-8").splitlines()
    whole = [f"{head},part", *(f"{row},{split}" for row, split in zip(rows, splits, strict=True))]
    table.write_text("\n".join(whole), encoding="utf-8")
    columns = ["--target", "score", "--text", "review", "--tabular", "price", "--split", "part"]
    assert run("train", table, *columns, "--out", tmp_path / "run", *QUICK).exit_code == 0
    scored = json.loads(run("evaluate", tmp_path / "run", table, "--json").stdout)
    assert {name: one["rows"] for name, one in scored.items()} == {
        "all": 80,
        "train": 48,
        "valid": 16,
        "test": 16,
    }
    held = json.loads((tmp_path / "run" / "scores.json").read_text())["scores"]
    assert {part: scored[part]["log_loss"] for part in held} == pytest.approx(
        {part: own["log_loss"] for part, own in held.items()}
    )
    later = tmp_path / "later.csv"
    later.write_text("\n".join([whole[0], f"{rows[0]},", f"{rows[1]},test"]), encoding="utf-8")
    head, counted, *_ = run("evaluate", tmp_path / "run", later).stdout.splitlines()
    assert (head.split(), counted.split()) == (["all", "test"], ["rows", "2", "1"])


def test_evaluate_without_a_target_is_answered(table, tmp_path):
    run(
        "train",
        table,
        "--target",
        "score",
        "--text",
        "review",
        "--tabular",
        "price",
        "--out",
        tmp_path / "run",
        *QUICK,
    )
    bare = tmp_path / "bare.csv"
    bare.write_text("review,price\nwarm,3\n", encoding="utf-8")
    done = run("evaluate", tmp_path / "run", bare)
    assert done.exit_code == 1
    assert "must have the target 'score' to be scored, got none" in done.stderr


def test_recipes_are_listed_and_printed():
    lines = run("recipe").stdout.splitlines()
    assert [line.split()[0] for line in lines[: len(list_recipes())]] == list_recipes()
    assert "sources:" in run("recipe", "digits").stdout
    assert "Did you mean 'digits'?" in run("recipe", "digit").stderr


def test_experiments_stand_beside_the_recipes_and_run_on_data(tmp_path):
    assert "emap-table" in run("recipe").stdout
    assert "published:" in run("recipe", "emap-table").stdout
    assert "must be given to an experiment only, got 'x'" in run("recipe", "digits", "x").stderr
    failed = run("recipe", "emap-table", tmp_path / "nothing", "--out", tmp_path / "run")
    assert failed.exit_code == 1
    assert "nothing" in failed.stderr


def test_a_table_shows_what_was_measured_above_what_is_published():
    score = Interval(mean=0.9, low=0.8, high=1.0)
    scores = {"text alone": score, "best model + EMAP": Interval(mean=0.85, low=0.75, high=0.95)}
    column = Column(heading="X", target="sign", metric="auc", scores=scores, best="polynomial SVM", gap=score)
    published = Published(source="a paper", columns=("X", "Y"), rows={"best model": (91.3, None)})
    lines = emap_table_text(EmapTable(columns=(column,), published=published)).splitlines()
    assert lines[1].split() == ["text", "alone", "0.900", "(0.800", "to", "1.000)"]
    assert "the best model is the polynomial SVM; its interactions are worth +0.900" in lines[4]
    assert lines[6] == "Published: a paper"
    assert lines[8].split() == ["best", "model", "91.3", "-"]


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        ("encoder", "embedding", "MLP"),
        ("task", "classification", "One of K classes"),
        ("data", "mosi", "give its folder"),
        ("metric", "accuracy", "higher is better"),
        ("metric", "log_loss", "lower is better"),
        ("recipe", "digits", "digit"),
        ("system", "muse", "Text and image"),
        ("system", "geminifusion", "attend to each other at each pixel"),
        ("system", "cen_translation", "make a picture each"),
    ],
)
def test_everything_that_has_a_name_is_listed(kind, name, text):
    line = run("list", "--kind", kind, name).stdout
    assert line.startswith(name)
    assert text in line
    assert json.loads(run("list", "--kind", kind, name, "--json").stdout).keys() == {name}


def test_encoders_are_named(table, tmp_path):
    columns = ["--target", "score", "--text", "review", "--tabular", "price", "--fusion", "concat"]
    out = tmp_path / "run"
    done = run("train", table, *columns, "--encoder", "review=words,max_n=2", "--out", out, *QUICK)
    assert done.exit_code == 0, done.output
    saved = json.loads((out / "model" / "config.json").read_text())["model"]["encoders"]["review"]
    assert (saved["kind"], saved["max_n"]) == ("words", 2)
    wrong = run("train", table, *columns, "--encoder", "review", "--out", tmp_path / "other")
    assert wrong.exit_code == 2
    assert "must be NAME=KIND, got 'review'" in wrong.stderr
