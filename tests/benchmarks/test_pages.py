"""The pages of measured numbers come from the stored results."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program, with copies of the pages to work on."""
    module = import_module("pages")
    copies = [tmp_path / page.name for page in module.PAGES]
    for page, copy in zip(module.PAGES, copies, strict=True):
        copy.write_text(page.read_text("utf-8"), "utf-8")
    monkeypatch.setattr(module, "PAGES", copies)
    return module


def test_the_pages_are_in_step_with_the_results(pages: Any) -> None:
    marks = {
        "measured": ("merge", "exchange"),
        "remedies": ("cooperation", "remedies_imbalanced"),
        "generated-scenes": ("scenes_audit", "scenes_speed"),
        "muse": ("muse_profile",),
        "segmentation": ("dense",),
    }
    for page in pages.PAGES:
        for name in marks[page.stem]:
            assert f"<!-- results: {name} -->" in page.read_text("utf-8")
    assert pages.main(["--check"]) == 0


def test_a_number_changed_by_hand_is_noticed_and_mended(
    pages: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    page = pages.PAGES[0]
    whole = page.read_text("utf-8")
    before, mark, after = whole.partition("cross_attention  ")
    assert mark
    page.write_text(f"{before}{mark} was better{after}", "utf-8")
    assert pages.main(["--check"]) == 1
    assert "Run: python benchmarks/pages.py" in capsys.readouterr().out
    assert pages.main([]) == 0
    assert page.read_text("utf-8") == whole
