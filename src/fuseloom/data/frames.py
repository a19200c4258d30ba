"""pandas data frames; nothing here imports pandas, a frame brings its own."""

import sys
from typing import TYPE_CHECKING, TypeGuard

import numpy as np

from fuseloom.data.cells import Cells, from_objects
from fuseloom.data.source import Source, check_columns
from fuseloom.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["is_frame", "read_frame"]


def is_frame(source: object) -> TypeGuard["pd.DataFrame"]:
    """Whether a source is a data frame."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(source, pandas.DataFrame)


def read_frame(frame: "pd.DataFrame") -> Source:
    """Take a frame's columns as those of a table, its index as the ids of its rows.

    Raises:
        DataError: no row, a column named twice, or one that holds neither strings nor numbers nor dates.
    """
    names = [str(name) for name in frame.columns]
    check_columns(names, owner="The data frame")
    if frame.empty:
        raise DataError("The data frame must have rows and columns, got none.")
    ids = [str(label) for label in frame.index]
    return Source(
        name="data frame",
        source_format="table",
        ids=ids,
        places=[f"row {label}" for label in ids],
        columns={name: _cells(name, frame.iloc[:, i]) for i, name in enumerate(names)},
    )


def _cells(name: str, column: "pd.Series") -> Cells:
    if column.dtype.kind in "iuf":
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    values = column.astype(object)
    return from_objects(values.where(column.notna(), None).tolist(), name=name)
