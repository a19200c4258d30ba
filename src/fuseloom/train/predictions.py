"""Predictions as a table that a person and a program can read."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["predicted_rows", "predictions_csv"]


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


def predicted_rows(path: Path, ids: Sequence[str], columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Which rows ``[N]`` the predictions in a file are of; none where they are of other data.

    Args:
        path: What `predictions_csv` made; there may be no such file.
        ids: Of the rows.
        columns: What the file says of its rows besides, such as their target: where a row differs, or is not
            here, the file is of other data.
    """
    known = dict(
        zip(ids, zip(*(map(_cell, column) for column in columns.values()), strict=True), strict=True)
    )
    none = np.zeros(len(ids), dtype=np.bool_)
    if not path.is_file():
        return none
    with path.open(encoding="utf-8", newline="") as file:
        said = {line["id"]: tuple(map(line.get, columns)) for line in csv.DictReader(file)}
    if any(known.get(row) != values for row, values in said.items()):
        return none
    return np.array([row in said for row in ids], dtype=np.bool_)


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, (float, np.floating)) else str(value)
