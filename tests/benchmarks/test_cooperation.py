"""The program that says what remedies cost."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from fuseloom.registry import list_remedies


@pytest.fixture
def program() -> Any:
    return import_module("cooperation")


def test_it_times_every_remedy_and_counts_what_rolling_adds(
    program: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "found.json"
    options = ["--batch", "8", "--dim", "8", "--rounds", "2", "--seconds", "0", "--runs", "1"]
    assert program.main([*options, "--json", str(path)]) == 0
    found = import_module("json").loads(path.read_text("utf-8"))
    assert [one["remedy"] for one in found["costs"]] == ["", *list_remedies()]
    assert found["costs"][0]["ratio"] == 1
    assert all(one["low"] <= one["ratio"] <= one["high"] for one in found["costs"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in list_remedies())


def test_rolling_adds_nothing_to_a_step_before_a_rotation_and_one_pass_to_a_rotation(program: Any) -> None:
    found = program.rolling(dim=8, size=8)
    assert found["operations_attached"] == found["operations_without"]
    assert found["operations_after_a_rotation"] > found["operations_attached"]
    assert found["forward_passes_of_a_rotation"] == found["batches_of_the_rows"]
