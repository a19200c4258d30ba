"""The program that times the conditional random field."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture
def program() -> Any:
    return import_module("crf")


def times(median: float) -> dict[str, float]:
    return {"median_s": median, "low_s": 0.9 * median, "high_s": 1.05 * median, "rounds": 5}


def test_half_of_the_sequences_are_shorter(program: Any) -> None:
    emissions, tags, mask = program.draw(400, 20, 3)
    assert mask[:, 0].all()
    assert 0.4 < (~mask[:, -1]).float().mean() < 0.6
    assert emissions.shape == (400, 20, 3)
    assert tags.max() == 2


def test_a_row_holds_the_times_of_every_run(
    program: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "crf.json"
    options = ["--size", "3x6x4", "--runs", "2", "--rounds", "2", "--seconds", "0"]
    assert program.main([*options, "--json", str(path)]) in (0, 1)
    rows = json.loads(path.read_text("utf-8"))["rows"]
    assert [(row["size"], row["pass"]) for row in rows] == [
        ("3x6x4", "decode"),
        ("3x6x4", "loss and gradient"),
    ]
    assert all(set(run) == {"ours", "pytorch-crf"} for row in rows for run in row["runs"])
    assert all(len(row["runs"]) == 2 for row in rows)
    shown = capsys.readouterr().out
    assert "3x6x4      decode" in shown
    assert "threads 1" in shown


def test_the_table_shows_the_middle_run_and_every_ratio(program: Any) -> None:
    runs = [{"ours": times(0.001), "pytorch-crf": times(factor * 0.001)} for factor in (7, 3, 5)]
    row = {"size": "2x3x4", "pass": "decode", "wanted": 5.0, "runs": runs}
    lines = program.render({"rows": [row], "environment": {"threads": 1}}).splitlines()
    assert lines[1].split()[:2] == ["2x3x4", "decode"]
    assert "1.00 (0.90 to 1.05)" in lines[1]
    assert "5.00 (4.50 to 5.25)" in lines[1]
    assert lines[1].endswith("3.0 5.0 7.0          5")


@pytest.mark.parametrize(("factor", "status"), [(0.5, 1), (4, 1), (6, 0)])
def test_it_fails_where_ours_is_slower_than_it_is_to_be(
    program: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, factor: float, status: int
) -> None:
    def measure(runs: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {"ours": times(0.001), "pytorch-crf": times(factor * 0.001)}

    monkeypatch.setattr(program, "measure", measure)
    options = ["--size", "2x3x4", "--runs", "1", "--json", str(tmp_path / "crf.json")]
    monkeypatch.setattr(program, "_WANTED", {("2x3x4", "decode"): 5.0})
    assert program.main(options) == status


def test_paths_that_differ_are_not_timed(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program.LinearChainCrf, "decode", lambda *_: torch.zeros(3, 6, dtype=torch.int64))
    with pytest.raises(SystemExit, match=r"^The best paths differ\.$"):
        program.passes(3, 6, 4)
