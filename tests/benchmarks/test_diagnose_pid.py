"""The program that compares our decomposition with cvxpy's says what both took, and how far they differ."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cvxpy", reason="the solver that ours is compared with")


@pytest.fixture
def program() -> Any:
    return import_module("diagnose_pid")


def test_both_solve_the_same_tables(program: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pid.json"
    status = program.main(["--sizes", "2x2x2,3x3x2", "--repeats", "1", "--json", str(path)])
    rows = json.loads(path.read_text("utf-8"))
    assert [row["size"] for row in rows] == ["2x2x2", "3x3x2"]
    assert all(row["difference"] < 1e-4 and row["gap"] < 1e-6 for row in rows)
    assert all(row["ratio"] == row["cvxpy"] / row["ours"] > 0 for row in rows)
    assert status == int(any(row["ratio"] < 1 for row in rows))
    assert "3x3x2" in capsys.readouterr().out
