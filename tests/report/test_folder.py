from pathlib import Path

import pytest

from fuseloom.comparison.result import Comparison
from fuseloom.errors import RunError
from fuseloom.report import from_json, to_html, write_report


def test_both_files_are_written_and_replaced(comparison: Comparison, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "größe"
    for _ in range(2):
        write_report(comparison, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json"]
    assert from_json((folder / "report.json").read_text(encoding="utf-8")) == comparison
    assert (folder / "report.html").read_text(encoding="utf-8") == to_html(comparison)


def test_a_folder_that_cannot_be_written_is_named(comparison: Comparison, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    with pytest.raises(RunError, match=r"folder must be writable, got '.*taken': File exists"):
        write_report(comparison, tmp_path / "taken")
