"""The program that prices EMAP counts what runs, and extrapolates the plain formulation only."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Any:
    """It, in this process, with small batches."""
    found = import_module("diagnose")
    monkeypatch.setattr(found, "_apart", lambda function, *given: function(*given))
    monkeypatch.setattr(found, "BATCHES", (16, 32))
    return found


def run(program: Any, path: Path, *options: str) -> tuple[dict[str, Any], str]:
    done = CliRunner().invoke(program.main, ["--plain-s", "0.01", "--json", str(path), *options])
    assert done.exit_code == 0, done.output
    return json.loads(path.read_text("utf-8")), done.stdout


@pytest.mark.parametrize("fusion", ["mlp", "cross_attention+concat"])
def test_encoders_run_once_for_each_row_and_the_fusion_on_all_pairs(
    program: Any, tmp_path: Path, fusion: str
) -> None:
    results, text = run(program, tmp_path / "emap.json", "--size", "60", "--fusion", fusion)
    (line,) = results["emap"]
    assert (line["form"], line["encoded"], line["pairs"]) == ("exact", 60, 60**2 + 68)
    assert line["plain_seconds"] > line["seconds"] > 0
    assert line["plain_pairs"] in (16, 32) or line["plain_pairs"] % 16 == 0
    assert line["plain_megabytes"] == pytest.approx(60**2 * 3 * 4 / 1e6)
    assert f"{fusion:<24}" in text
    assert results["environment"]["threads"] == 1


def test_the_stated_error_stands_beside_the_true_one(
    program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "_partners", lambda size, fusion: ["all", 40])
    results, text = run(program, tmp_path / "emap.json", "--size", "120")
    exact, sampled = results["emap"]
    assert (exact["true_error"], exact["stated_error"], sampled["form"]) == (None, 0.0, "monte carlo")
    assert 0.3 < sampled["true_error"] / sampled["stated_error"] < 3
    assert f"({sampled['true_error']:.4f})" in text


def test_what_is_computed_follows_from_the_size(program: Any) -> None:
    assert program._partners(1_000, "mlp") == ["all"]
    assert program._partners(10_000, "mlp") == ["all", program.PARTNERS]
    assert program._partners(100_000, "mlp") == [program.PARTNERS]
    assert program._partners(10_000, "cross_attention+concat") == [program.PARTNERS]
