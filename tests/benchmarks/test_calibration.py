"""The program that calibrates the verdict counts what comparisons say, and fails where that is too much."""

import json
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from fuseloom.comparison.result import Interval
from fuseloom.data import load, make_splits


@pytest.mark.slow
def test_verdicts_of_real_comparisons_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    done = CliRunner().invoke(
        import_module("calibration").main, ["--setting", "unique", "--quick", "--json", str(path)]
    )
    assert done.exit_code == 0, done.output
    (found,) = json.loads(path.read_text("utf-8"))["settings"].values()
    none, strong = found["lines"]
    assert (none["bits"], none["draws"], sum(none["verdicts"].values())) == (0.0, 2, 2)
    assert none["best_alone"] == pytest.approx(none["best_fused"], abs=1e-3)
    assert strong["gain"] > none["gain"] + 0.1
    assert "False 'fusing pays' at strength 0: 0.000, at most 0.05." in done.stdout


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What comparisons are asked for; every eighth of the first four hundred finds that fusing pays."""
    calls: list[dict[str, Any]] = []

    def compare(rows: Any, **settings: Any) -> SimpleNamespace:
        assert "split" not in rows
        calls.append(settings | {"rows": len(rows["target"])})
        pays = len(calls) <= 400 and len(calls) % 8 == 0
        verdict = "fusing pays" if pays else "these data cannot tell"
        gain = Interval(mean=0.01, low=-0.02, high=0.04)
        return SimpleNamespace(recommendation=SimpleNamespace(verdict=verdict, gain=gain))

    monkeypatch.setattr(import_module("calibration"), "compare", compare)
    return calls


def test_one_call_makes_every_table(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    done = CliRunner().invoke(import_module("calibration").main, ["--json", str(path)])
    assert done.exit_code == 1  # five draws of forty, in two of the settings
    assert [done.stdout.count(f"{name}: 40 draws") for name in ("unique", "synergistic", "unique-folds")] == [
        1,
        1,
        1,
    ]
    assert done.stdout.count("MORE THAN 0.05") == 2
    assert len(asked) == 3 * 5 * 40
    assert {(call["folds"], call["seeds"]) for call in asked[:400]} == {(1, 2)}
    assert {(call["folds"], call["seeds"]) for call in asked[400:]} == {(5, 1)}
    assert {call["rows"] for call in asked[:400]} == {1000}
    assert {call["rows"] for call in asked[400:]} == {500}
    assert [call["split_seed"] for call in asked] == [*range(40)] * 15
    kept = json.loads(path.read_text("utf-8"))["settings"]
    assert kept["synergistic"]["lines"][0]["verdicts"] == {"these data cannot tell": 35, "fusing pays": 5}


@pytest.mark.parametrize(("draws", "status"), [(20, 1), (7, 0)])
def test_too_many_false_verdicts_are_a_failure(asked: list[dict[str, Any]], draws: int, status: int) -> None:
    done = CliRunner().invoke(
        import_module("calibration").main, ["--setting", "unique", "--draws", str(draws)]
    )
    assert done.exit_code == status
    assert ("MORE THAN 0.05" in done.stdout) == (status == 1)
    assert len(asked) == 5 * draws


def test_at_strength_zero_nothing_tells_the_second_bit() -> None:
    module = import_module("calibration")
    for setting in module.SETTINGS.values():
        data = module._data(setting, 0.0, draw=3)
        assert data.best_accuracy() == pytest.approx(max(data.best_accuracy("a"), 0), abs=1e-3)
        assert len(set(data.target)) == 4


def test_folds_are_those_that_compare_makes_of_so_many_rows() -> None:
    module = import_module("calibration")
    assert {setting.folds for setting in module.SETTINGS.values()} == {1, 5}
    for setting in module.SETTINGS.values():
        rows = module._data(setting, 0.08, draw=2)
        data = load({name: rows[name] for name in rows if name != "split"})
        assert len(make_splits(data, stratify=True, seed=0, folds=None)) == setting.folds
