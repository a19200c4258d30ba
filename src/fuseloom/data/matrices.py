"""Matrices of numbers in text files, as published sets have them: strict, for their content is known."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fuseloom.errors import DataError

__all__ = ["check_equal_labels", "read_matrix"]


def read_matrix(path: Path, *, header: bool = False) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read comma separated numbers, quoted or not: features ``[N, D]``, and the last column, labels ``[N]``.

    Raises:
        DataError: a cell is no number, rows differ in length, a label is not whole, or there is no row.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*input contained no data")
            table = np.loadtxt(
                path,
                delimiter=",",
                quotechar='"',
                comments=None,
                skiprows=int(header),
                ndmin=2,
                encoding="utf-8-sig",
            )
    except (ValueError, UserWarning) as error:
        raise DataError(f"{path.name} must hold rows of numbers, as published, got: {error}.") from None
    features, labels = table[:, :-1].astype(np.float32), table[:, -1]
    if not np.array_equal(labels, np.round(labels)):
        raise DataError(f"{path.name} must have whole numbers in its last column, the label, got others.")
    return features, labels.astype(np.int64)


def check_equal_labels(labels: dict[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    """The labels that all files share.

    Raises:
        DataError: files differ in length or in a label, so their rows are not the same samples.
    """
    first, expected = next(iter(labels.items()))
    for name, found in labels.items():
        if len(found) != len(expected):
            raise DataError(
                f"{name} must have as many rows as {first}, got {len(found)} and {len(expected)}. Download "
                "the set again."
            )
        if len(other := np.flatnonzero(found != expected)):
            raise DataError(
                f"{name} must have the labels of {first}, got another in sample {other[0] + 1}. Download the "
                "set again."
            )
    return expected
