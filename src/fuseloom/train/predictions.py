"""Predictions as a table that a person and a program can read."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["predictions_csv"]


def predictions_csv(ids: Sequence[str], columns: Mapping[str, NDArray[Any]]) -> str:
    """CSV text with a column ``id`` and the given columns; numbers to six significant digits.

    Example:
        >>> columns = {"prediction": np.array(["yes"]), "p_yes": np.array([2 / 3])}
        >>> print(predictions_csv(["7"], columns), end="")
        id,prediction,p_yes
        7,yes,0.666667
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", *columns])
    writer.writerows(zip(ids, *(map(_cell, column) for column in columns.values()), strict=True))
    return text.getvalue()


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, (float, np.floating)) else str(value)
