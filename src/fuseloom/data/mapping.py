"""Arrays that lie in files and are read as they are needed."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LARGE", "mapped", "room", "taken"]

LARGE = 2**30
"""Bytes above which an array is kept in a file, 1 GiB."""

_ROWS_AT_ONCE = 1024


def mapped(file: Path) -> NDArray[Any]:
    """The array of a ``.npy`` file, read as it is needed; what is written to it stays in memory."""
    values: NDArray[Any] = np.load(file, mmap_mode="c", allow_pickle=False)
    return values


def room(shape: tuple[int, ...], *, large: int = LARGE) -> NDArray[np.float32]:
    """Zeros to be filled: in memory, or in a file without a name where they are many.

    Args:
        shape: Of the array.
        large: Bytes above which it is a file.

    Example:
        >>> room((2, 3)).sum()
        np.float32(0.0)
    """
    if np.prod(shape, dtype=np.int64) * 4 <= large:
        return np.zeros(shape, dtype=np.float32)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype=np.float32, mode="w+", shape=shape)


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
