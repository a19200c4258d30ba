"""Recipes and experiments from the command line, as a user writes and runs them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fuseloom.cli.group import fuseloom
from fuseloom.comparison import trials

VARIANTS = """
kind: variants
summary: What is the rank worth?
recipe: digits
data: [digits]
reference: whole
also: [log_loss]
set: {fit.max_epochs: 2, model.dim: 4, data.fraction: 0.1}
variants:
  whole: {}
  rank 1: {model.options.low_rank.rank: 1}
"""
SWEEP = """
kind: sweep
recipe: digits
seeds: 2
set: {fit.max_epochs: 2, model.dim: 4, data.fraction: 0.1}
grid: {model.options.low_rank.rank: [1, 2, 4]}
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(fuseloom, [str(one) for one in arguments])


@pytest.fixture
def variants(tmp_path: Path) -> Path:
    (tmp_path / "rank.yaml").write_text(VARIANTS, encoding="utf-8")
    return tmp_path / "rank.yaml"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    (tmp_path / "ranks.yaml").write_text(SWEEP, encoding="utf-8")
    return tmp_path / "ranks.yaml"


def test_the_list_says_of_each_name_what_it_is() -> None:
    kinds = {line.split()[0]: line.split()[1] for line in run("recipe").stdout.splitlines()}
    assert kinds["digits"] == "recipe"
    assert kinds["emap-table"] == "emap-table"


def test_a_file_is_printed_and_run_on_its_own_data(variants: Path, tmp_path: Path) -> None:
    assert run("recipe", variants).stdout == VARIANTS
    done = run("recipe", variants, "--run", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    head, whole, other, *_ = done.stdout.splitlines()
    assert head.split()[:4] == ["data", "variant", "test", "accuracy"]
    assert [whole.split()[:2], other.split()[:3]] == [["digits", "whole"], ["digits", "rank", "1"]]
    assert "[2/2] digits: rank 1, seed 0: validation accuracy" in done.stderr
    again = run("recipe", variants, "--run", "--out", tmp_path / "run", "--json")
    shown = json.loads(again.stdout)
    page = tmp_path / "run" / "variants.html"
    assert again.stderr == f"page: {page}\n"  # read, not trained
    assert "rank 1" in page.read_text(encoding="utf-8")
    assert shown == json.loads((tmp_path / "run" / "variants.json").read_text(encoding="utf-8"))
    assert [len(one["runs"]) for one in shown["tables"][0]["variants"]] == [1, 1]


def test_data_seeds_and_settings_of_the_command_count(variants: Path, tmp_path: Path) -> None:
    terms = ["--seeds", "2", "--set", "fit.max_epochs=1", "--set", "data.fraction=0.05"]
    done = run("recipe", variants, "digits", "interactions", *terms, "--json", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    tables = json.loads(done.stdout)["tables"]
    assert [table["data"] for table in tables] == ["digits", "interactions"]
    runs = [one for table in tables for variant in table["variants"] for one in variant["runs"]]
    assert [(one["seed"], one["epochs"]) for one in runs] == [(0, 1), (1, 1)] * 4


def test_a_sweep_of_a_file_takes_its_grid_and_its_seeds(sweep: Path, tmp_path: Path) -> None:
    done = run("sweep", sweep, "--set", "fit.max_epochs=1", "--json", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    (course,) = json.loads(done.stdout)["courses"]
    assert {cell["settings"]["model.options.low_rank.rank"] for cell in course["cells"]} == {"1", "2", "4"}
    assert {len(cell["runs"]) for cell in course["cells"]} == {2}


def test_a_grid_of_the_command_stands_in_for_that_of_the_file(sweep: Path, tmp_path: Path) -> None:
    grid = ["--grid", "fit.lr=1e-3", "--seeds", "1"]
    done = run("sweep", sweep, *grid, "--json", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["grid"] == {"fit.lr": ["1e-3"]}


def test_each_kind_is_told_which_command_runs_it(variants: Path, sweep: Path) -> None:
    wrong = run("sweep", variants)
    assert wrong.exit_code == 1
    assert f"must be an experiment of kind 'sweep'. Try: fuseloom recipe {variants}" in wrong.stderr
    wrong = run("recipe", sweep, "digits")
    assert wrong.exit_code == 1
    assert f"Try: fuseloom sweep {sweep} --data digits" in wrong.stderr
    wrong = run("recipe", "emap-table", "--run")
    assert "emap-table must be given one DATA, and no --run, --recipe, --set or --overwrite" in wrong.stderr
    assert "must be given to an experiment only" in run("recipe", "digits", "--run").stderr


def test_an_unknown_option_of_a_part_is_refused_when_the_model_is_built(sweep: Path, tmp_path: Path) -> None:
    wrong = run("sweep", sweep, "--set", "model.options.low_rank.rang=3", "--out", tmp_path / "run")
    assert wrong.exit_code == 1
    assert "Error: digits: model.options.low_rank.rank=1, seed 0 failed: 'low_rank' has no" in wrong.stderr


@pytest.mark.parametrize("verb", ["sweep", "recipe"])
def test_ctrl_c_says_how_to_go_on(
    verb: str, sweep: Path, variants: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trials, "run_recipe", stopped)
    command = ["sweep", sweep] if verb == "sweep" else ["recipe", variants, "--run"]
    done = run(*command, "--out", tmp_path / "run")
    assert done.exit_code == 130
    assert "Stopped; run the same command to go on." in done.stderr


def test_an_experiment_runs_on_another_recipe(variants: Path, sweep: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("data: {source: digits}\nmodel: {fusion: low_rank}\nfit: {seed: 5}\n", encoding="utf-8")
    told = ("--recipe", other, "--seeds", 1, "--json", "--out")
    found = json.loads(run("recipe", variants, "digits", *told, tmp_path / "a").stdout)
    (table,) = found["tables"]
    assert {one["seed"] for variant in table["variants"] for one in variant["runs"]} == {5}
    swept = run("sweep", sweep, *told, tmp_path / "b")
    assert swept.exit_code == 0, swept.output
    refused = run("sweep", "digits", "--recipe", other)
    assert refused.exit_code == 2
    assert "--recipe is for experiments" in refused.output
