"""The files of a report."""

from collections.abc import Mapping
from pathlib import Path

from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.comparison.result import Comparison
from fuseloom.comparison.sweep import Sweep
from fuseloom.comparison.variants import Variants
from fuseloom.errors import RunError
from fuseloom.report.as_json import to_json
from fuseloom.report.diagnosis_page import to_diagnosis_html
from fuseloom.report.experiments.page import to_sweep_html
from fuseloom.report.experiments.variants_page import to_variants_html
from fuseloom.report.html import to_html
from fuseloom.train.files import write_whole

__all__ = ["write_diagnosis", "write_report", "write_sweep", "write_variants"]


def write_report(comparison: Comparison, folder: str | Path) -> None:
    """Write ``report.html`` and ``report.json`` into a folder, which is made where it is missing.

    Args:
        comparison: A finished comparison.
        folder: Where to; files of these names are replaced.

    Raises:
        RunError: the folder cannot be written to.
        MissingExtraError: the workbench is not installed.
    """
    _write({"report.json": to_json(comparison), "report.html": to_html(comparison)}, Path(folder))


def write_diagnosis(diagnosis: Diagnosis, folder: str | Path) -> None:
    """Write ``diagnosis.html`` and ``diagnosis.json`` into a folder, which is made where it is missing.

    Args:
        diagnosis: Of a model.
        folder: Where to; files of these names are replaced.

    Raises:
        RunError: the folder cannot be written to.
        MissingExtraError: the workbench is not installed.
    """
    contents = {"diagnosis.json": to_json(diagnosis), "diagnosis.html": to_diagnosis_html(diagnosis)}
    _write(contents, Path(folder))


def write_sweep(sweep: Sweep, folder: str | Path) -> None:
    """Write ``sweep.html`` and ``sweep.json`` into a folder, which is made where it is missing.

    Args:
        sweep: A finished one.
        folder: Where to; files of these names are replaced.

    Raises:
        RunError: the folder cannot be written to.
        MissingExtraError: the workbench is not installed.
    """
    _write({"sweep.json": to_json(sweep), "sweep.html": to_sweep_html(sweep)}, Path(folder))


def write_variants(variants: Variants, folder: str | Path) -> None:
    """Write ``variants.html`` and ``variants.json`` into a folder, which is made where it is missing.

    Args:
        variants: Finished ones.
        folder: Where to; files of these names are replaced.

    Raises:
        RunError: the folder cannot be written to.
        MissingExtraError: the workbench is not installed.
    """
    _write({"variants.json": to_json(variants), "variants.html": to_variants_html(variants)}, Path(folder))


def _write(contents: Mapping[str, str], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_whole(folder / name, content)
    except OSError as error:
        raise RunError(f"folder must be writable, got {str(folder)!r}: {error.strerror}.") from None
