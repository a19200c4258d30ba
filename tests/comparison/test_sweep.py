import csv
import io
from dataclasses import replace

import pytest
from click.testing import CliRunner

from fuseloom.cli.group import fuseloom
from fuseloom.comparison import sweep
from fuseloom.comparison.recipe_run import RecipeResult
from fuseloom.comparison.sweep import Cell, parse_grid, run_sweep, sweep_csv
from fuseloom.errors import OptionError, RunError

QUICK = ["fit.max_epochs=3", "model.dim=4", "data.fraction=0.1"]
GRID = {"fit.lr": ("1e-4", "1e-2"), "model.fusion": ("sum",)}


def same(one, other):
    return [(c.settings, [replace(r, train_s=0.0) for r in c.runs]) for c in one] == [
        (c.settings, [replace(r, train_s=0.0) for r in c.runs]) for c in other
    ]


def test_every_combination_is_run_once_with_every_seed_and_the_best_stands_first(tmp_path, monkeypatch):
    told = []
    cells = run_sweep("digits", GRID, tmp_path, seeds=2, overrides=QUICK, progress=told.append)
    assert [cell.settings["fit.lr"] for cell in cells] == ["1e-2", "1e-4"]
    assert [[run.seed for run in cell.runs] for cell in cells] == [[0, 1], [0, 1]]
    assert cells[0].score("valid") > cells[1].score("valid")
    assert told[-1].startswith("[4/4] fit.lr=1e-2, model.fusion=sum, seed 1: validation accuracy")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "sweep.csv").read_text())))
    assert [float(row["valid_accuracy"]) for row in rows] == [
        pytest.approx(c.score("valid"), abs=1e-5) for c in cells
    ]
    monkeypatch.setattr(sweep, "run_recipe", None)
    assert same(run_sweep("digits", GRID, tmp_path, seeds=2, overrides=QUICK), cells)


def test_a_killed_sweep_goes_on_with_what_is_missing(tmp_path, monkeypatch):
    whole = run_sweep("digits", GRID, tmp_path / "whole", overrides=QUICK)
    run_recipe, calls = sweep.run_recipe, []

    def killed_at_the_second(recipe, folder):
        calls.append(recipe.fit.lr)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run_recipe(recipe, folder)

    monkeypatch.setattr(sweep, "run_recipe", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run_sweep("digits", GRID, tmp_path / "cut", overrides=QUICK)
    assert same(run_sweep("digits", GRID, tmp_path / "cut", overrides=QUICK), whole)
    assert calls == [1e-4, 1e-2, 1e-2]


@pytest.mark.slow
def test_the_numbers_do_not_depend_on_the_number_of_processes(tmp_path):
    one, two = (
        run_sweep("digits", GRID, tmp_path / str(workers), overrides=QUICK, num_workers=workers)
        for workers in (1, 2)
    )
    assert same(one, two)
    with pytest.raises(RunError, match=r"model\.fusion=routing, seed 0 failed: Error: "):
        run_sweep(
            "digits",
            {"model.fusion": ("sum", "routing")},
            tmp_path / "bad",
            overrides=[*QUICK, "model.options={routing: {nonsense: 1}}"],
            num_workers=2,
        )


def result(score, *, higher=True):
    scores = {"valid": {"m": score}, "test": {"m": 0.5}}
    return RecipeResult(
        name="x",
        seed=0,
        valid_loss=1.0,
        epochs=1,
        train_s=0.5,
        parameters=1,
        rows={},
        metric="m",
        higher_is_better=higher,
        scores=scores,
    )


def test_the_order_follows_the_metric_and_what_has_no_score_is_last():
    low, high, none = (Cell(settings={"k": "v"}, runs=(result(score),)) for score in (0.1, 0.9, None))
    assert sorted([none, low, high], key=lambda cell: cell.rank) == [high, low, none]
    errors = [Cell(settings={"k": "v"}, runs=(result(score, higher=False),)) for score in (0.9, 0.1)]
    assert min(errors, key=lambda cell: cell.rank).score("valid") == 0.1
    assert sweep_csv([high]).splitlines() == ["k,valid_m,test_m,seeds,train_s", "v,0.9,0.5,1,0.5"]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (["fit.lr"], r"grid must be KEY\.SUB=VALUE,VALUE, got 'fit\.lr'"),
        (["fit.lr=1,,2"], r"grid must be KEY\.SUB=VALUE,VALUE"),
        (["fit.lr=1", "fit.lr=2"], r"grid must name each key once, got 'fit\.lr' twice"),
    ],
)
def test_a_wrong_grid_is_answered(grid, message):
    with pytest.raises(OptionError, match=message):
        parse_grid(grid)


def test_a_wrong_value_is_found_before_anything_is_trained(tmp_path):
    with pytest.raises(OptionError, match="lr must be positive"):
        run_sweep("digits", {"fit.lr": ("1e-3", "-1")}, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(OptionError, match="grid must name at least one setting, got none"):
        run_sweep("digits", {}, tmp_path / "run")


def test_the_command_prints_a_table(tmp_path):
    quick = [part for setting in QUICK for part in ("--set", setting)]
    arguments = ["sweep", "digits", "--grid", "fit.lr=1e-4,1e-2", "--out", str(tmp_path), *quick]
    done = CliRunner().invoke(fuseloom, arguments)
    assert done.exit_code == 0, done.output
    head, best, worst = done.stdout.splitlines()
    assert head.split() == ["fit.lr", "valid", "accuracy", "test", "accuracy"]
    assert [best.split()[0], worst.split()[0]] == ["1e-2", "1e-4"]
