"""The time of a whole comparison is that of the command, and a failed one is no measurement."""

import json
from importlib import import_module
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_run_is_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "digits.json"
    short = ["--fusion", "sum", "--seeds", "1", "--max-epochs", "1"]
    assert import_module("digits").main(["--runs", "2", "--json", str(path), *short]) == 0
    found = json.loads(path.read_text("utf-8"))
    assert len(found["seconds"]) == 2
    assert min(found["seconds"]) > 0
    assert f"median {found['median_s']:.1f} s" in capsys.readouterr().out


def test_a_failed_comparison_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="The comparison failed"):
        import_module("digits").main(["--runs", "1", "--json", str(tmp_path / "x.json"), "--fusion", "sun"])
