"""The page of measured numbers comes from the stored results."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program, with a copy of the page to work on."""
    module = import_module("pages")
    copy = tmp_path / "measured.md"
    copy.write_text(module.PAGE.read_text("utf-8"), "utf-8")
    monkeypatch.setattr(module, "PAGE", copy)
    return module


def test_the_page_is_in_step_with_the_results(pages: Any) -> None:
    text = pages.PAGE.read_text("utf-8")
    for name in ("merge", "exchange"):
        assert f"<!-- results: {name} -->" in text
    assert pages.main(["--check"]) == 0


def test_a_number_changed_by_hand_is_noticed_and_mended(
    pages: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = pages.PAGE.read_text("utf-8")
    before, mark, after = whole.partition("cross_attention  ")
    assert mark
    pages.PAGE.write_text(f"{before}{mark} was better{after}", "utf-8")
    assert pages.main(["--check"]) == 1
    assert "Run: python benchmarks/pages.py" in capsys.readouterr().out
    assert pages.main([]) == 0
    assert pages.PAGE.read_text("utf-8") == whole
