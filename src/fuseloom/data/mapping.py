"""Arrays that lie in files and are read as they are needed."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LARGE", "mapped", "taken"]

LARGE = 2**30
"""Bytes above which an array is kept in a file, 1 GiB."""

_ROWS_AT_ONCE = 1024


def mapped(file: Path) -> NDArray[Any]:
    """The array of a ``.npy`` file, read as it is needed; what is written to it stays in memory."""
    values: NDArray[Any] = np.load(file, mmap_mode="c", allow_pickle=False)
    return values


def taken(values: NDArray[Any], rows: NDArray[np.intp] | slice, *, large: int = LARGE) -> NDArray[Any]:
    """The rows of an array; many of a mapped one go to a file without a name, not into the memory.

    Args:
        values: In memory, or mapped.
        rows: Row numbers, or a slice, which is a view.
        large: Bytes above which mapped rows go to a file.

    Example:
        >>> taken(np.arange(4) * 10, np.array([3, 0]))
        array([30,  0])
    """
    if isinstance(rows, slice) or not isinstance(values, np.memmap):
        return values[rows]
    shape = (len(rows), *values.shape[1:])
    if np.prod(shape, dtype=np.int64) * values.dtype.itemsize <= large:
        return values[rows]
    with tempfile.TemporaryFile() as file:
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            file.write(np.ascontiguousarray(values[rows[start : start + _ROWS_AT_ONCE]]).data)
        file.flush()
        return np.memmap(file, dtype=values.dtype, mode="c", shape=shape)
