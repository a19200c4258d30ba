"""The program that calibrates the verdict counts what comparisons say, and fails where that is too much."""

import json
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from fuseloom.comparison.result import Interval


@pytest.mark.slow
def test_verdicts_of_real_comparisons_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    done = CliRunner().invoke(import_module("calibration").main, ["--quick", "--json", str(path)])
    assert done.exit_code == 0, done.output
    found = json.loads(path.read_text("utf-8"))
    none, strong = found["lines"]
    assert (none["bits"], none["draws"], sum(none["verdicts"].values())) == (0.0, 2, 2)
    assert none["best_alone"] == pytest.approx(none["best_fused"], abs=1e-3)
    assert strong["gain"] > none["gain"] + 0.1
    assert "False 'fusing pays' at strength 0: 0.000, at most 0.05." in done.stdout


@pytest.mark.parametrize(("false", "status"), [(1, 0), (3, 1)])
def test_too_many_false_verdicts_are_a_failure(
    monkeypatch: pytest.MonkeyPatch, false: int, status: int
) -> None:
    module = import_module("calibration")
    said = iter(["fusing pays"] * false + ["these data cannot tell"] * 200)

    def compare(rows: Any, **settings: Any) -> SimpleNamespace:
        assert "split" not in rows
        gain = Interval(mean=0.01, low=-0.02, high=0.04)
        return SimpleNamespace(recommendation=SimpleNamespace(verdict=next(said), gain=gain))

    monkeypatch.setattr(module, "compare", compare)
    done = CliRunner().invoke(module.main, ["--kind", "synergistic", "--draws", "20", "--rows", "50"])
    assert done.exit_code == status
    assert f"False 'fusing pays' at strength 0: {false / 20:.3f}" in done.stdout
    assert ("MORE THAN 0.05" in done.stdout) == (status == 1)


def test_at_strength_zero_nothing_tells_the_second_bit() -> None:
    module = import_module("calibration")
    for kind in module.STRENGTHS:
        data = module._data(kind, 0.0, 1000, draw=3)
        assert data.best_accuracy() == pytest.approx(max(data.best_accuracy("a"), 0), abs=1e-3)
        assert len(set(data.target)) == 4
