"""What rows hold, as digests that can be compared."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fuseloom.data.dataset import Dataset, Embedding, Files, Modality, Series, Table, Text
from fuseloom.data.media import ArchivePart, PicturePart, Sound, frames_of, reason_of, shown_item
from fuseloom.errors import DataError

__all__ = ["Contents", "contents"]

Contents = Mapping[str, list[bytes | None]]
"""Modality name -> digest of each row; ``None`` where the row lacks it."""


def contents(dataset: Dataset) -> Contents:
    """A digest of each row of each modality; of files it is one of their bytes.

    Raises:
        DataError: a file cannot be read.
    """
    digests = {}
    for name, modality in dataset.modalities.items():
        of_row = _reader(modality)
        parts = (of_row(row) for row in range(len(dataset)))
        digests[name] = [
            None if part is None else hashlib.blake2b(part, digest_size=16).digest() for part in parts
        ]
    return digests


def _reader(modality: Modality) -> Callable[[int], bytes | None]:
    """What gives the bytes of a row."""
    if isinstance(modality, Embedding | Series):
        return lambda row: _numbers(modality, row)
    if isinstance(modality, Table):
        return lambda row: _cells(modality, row)
    if isinstance(modality, Text):
        return lambda row: _encoded(modality.values[row])
    return lambda row: _item(modality, row)


def _numbers(modality: Embedding | Series, row: int) -> bytes | None:
    real = modality.mask[row]
    if not real.any():
        return None
    kept = modality.values[row][real] if real.ndim else modality.values[row]
    times = b""
    if isinstance(modality, Series) and modality.time is not None:
        times = modality.time[row][real].tobytes()
    return np.ascontiguousarray(kept).tobytes() + times


def _cells(table: Table, row: int) -> bytes | None:
    numbers = np.array([column[row] for column in table.numbers.values()], dtype=np.float64)
    words = [column[row] for column in table.categories.values()]
    if np.isnan(numbers).all() and all(word is None for word in words):
        return None
    return numbers.tobytes() + repr(words).encode("utf-8", "surrogatepass")


def _encoded(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogatepass")


def _item(modality: Files, row: int) -> bytes | None:
    item = modality.items[row]
    return None if item is None else b"".join(map(_content, frames_of(item)))


def _content(item: Any) -> bytes:
    if isinstance(item, np.ndarray):
        return repr((item.shape, item.dtype)).encode() + item.tobytes()
    if isinstance(item, Sound):
        return repr(item.rate).encode() + item.samples.tobytes()
    if isinstance(item, PicturePart):
        return repr((item.channels, item.size)).encode() + _of_file(item.path)
    return _of_file(item)


def _of_file(item: Any) -> bytes:
    if isinstance(item, bytes):
        return item
    try:
        return item.read() if isinstance(item, ArchivePart) else Path(item).read_bytes()
    except OSError as error:
        shown = shown_item(item)
        raise DataError(f"{shown} must still be there, got: {reason_of(error)}. Check again.") from None
