"""Columns of paths: the items they name, and which of them cannot be read."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.cells import Cells, as_strings
from fuseloom.data.dataset import Embedding, Files
from fuseloom.data.maps import read_map
from fuseloom.data.media import read_audio, read_image, read_item, reason_of
from fuseloom.data.ragged import Problems, stacked
from fuseloom.errors import DataError

__all__ = ["array_files", "checked", "file_bytes", "items_of", "load_array", "unreadable"]

_MAGIC = b"\x93NUMPY"
_READERS: Mapping[str, Callable[[Any], Any]] = {"image": read_image, "map": read_map, "audio": read_audio}


def file_bytes(path: Path) -> bytes:
    """All bytes of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path.name} must be a file that can be read, got: {reason_of(error)}.") from None


def items_of(cells: Cells, root: Path | None) -> NDArray[np.object_]:
    """A path per cell, relative to ``root``, or its bytes; ``None`` where there is no cell."""
    folder = root if root is not None else Path()
    items = np.empty(len(cells), dtype=object)
    if all(isinstance(cell, bytes) for cell in cells):
        items[:] = cells
    else:
        items[:] = [None if cell is None else folder / str(cell) for cell in as_strings(cells)]
    return items


def checked(modality: Files, name: str, problems: Problems) -> Files:
    """The same modality, every item of which has been read once; a problem where that failed."""
    for row, why in enumerate(unreadable(modality.items, partial(read_item, _READERS[modality.kind]))):
        if why is not None:
            problems.setdefault(row, f"{name}: {why}")
    return modality


def unreadable(items: Iterable[Any], read: Callable[[Any], object]) -> list[str | None]:
    """Why each of them cannot be read, all of which are tried; nothing of those that can, or are ``None``."""

    def reason(item: Any) -> str | None:
        if item is None:
            return None
        try:
            read(item)
        except DataError as error:
            return str(error)
        return None

    with ThreadPoolExecutor() as threads:
        return list(threads.map(reason, items))


def array_files(items: NDArray[np.object_], name: str, problems: Problems) -> Embedding:
    """Vectors, or sequences of any length, of a ``.npy`` file each.

    Raises:
        DataError: no shape that most files have, or none that can be read.
    """
    arrays: list[NDArray[Any] | None] = []
    for row, item in enumerate(items):
        try:
            # Copied, as there may be more files than a process may map.
            arrays.append(None if item is None else np.array(read_item(load_array, item)))
        except DataError as error:
            arrays.append(None)
            problems.setdefault(row, f"{name}: {error}")
    return stacked(name, arrays, problems)


def load_array(path: Path) -> NDArray[Any]:
    """A plain array that `numpy.save` wrote, mapped rather than read.

    Raises:
        DataError: another format, or a pickle.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
    except (OSError, ValueError) as error:
        raise DataError(f"must be a file that can be read, got: {reason_of(error)}") from None
    if start != _MAGIC:
        what = "a pickle, which is never loaded" if start.startswith(b"\x80") else "another format"
        raise DataError(f"must be an array written by numpy.save, got {what}")
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(
            f"must be a plain array of numbers or strings, got one that cannot be loaded: {error}. Arrays of "
            "Python objects are pickles and never loaded: save numbers or strings"
        ) from None
    return array
