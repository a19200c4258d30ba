"""The files of a report."""

from pathlib import Path

from fuseloom.comparison.result import Comparison
from fuseloom.errors import RunError
from fuseloom.report.as_json import to_json
from fuseloom.report.html import to_html
from fuseloom.train.files import write_whole

__all__ = ["write_report"]


def write_report(comparison: Comparison, folder: str | Path) -> None:
    """Write ``report.html`` and ``report.json`` into a folder, which is made where it is missing.

    Args:
        comparison: A finished comparison.
        folder: Where to; files of these names are replaced.

    Raises:
        RunError: the folder cannot be written to.
        MissingExtraError: the workbench is not installed.
    """
    contents = {"report.json": to_json(comparison), "report.html": to_html(comparison)}
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_whole(Path(folder, name), content)
    except OSError as error:
        raise RunError(f"folder must be writable, got {str(folder)!r}: {error.strerror}.") from None
