"""Cells of one column: which are missing, which are numbers."""

import math
from collections.abc import Iterable, Sequence
from datetime import date, time
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.errors import DataError

__all__ = ["MISSING", "Cells", "as_numbers", "as_strings", "clean", "from_objects", "is_empty", "is_missing"]

Cells = NDArray[np.float64] | NDArray[np.object_]
"""A column: numbers with NaN, or strings with ``None`` or an empty one, where a cell is missing."""

_KNOWN = (str, bool, np.bool_, Real, Decimal, date, time)

MISSING = frozenset({"", "-", "?", "n/a", "na", "nan", "none", "null"})
"""What a missing cell says, in any case."""


def clean(cells: Iterable[str | None]) -> NDArray[np.object_]:
    """Strip strings and replace those that say that a cell is missing by ``None``; an empty one stays empty.

    Example:
        >>> clean([" red ", "N/A", " "]).tolist()
        ['red', None, '']
    """
    stripped = [cell.strip() if cell is not None else None for cell in cells]
    return np.array([None if cell and cell.lower() in MISSING else cell for cell in stripped], dtype=object)


def from_objects(values: Sequence[object], *, name: str) -> Cells:
    """Numbers if all values that are there are numbers, else strings.

    Raises:
        DataError: a value is neither a string, a number, a boolean nor a date.
    """
    present = [value for value in values if not _absent(value)]
    if strange := [value for value in present if not isinstance(value, _KNOWN)]:
        raise DataError(
            f"{name!r} must hold strings, numbers or booleans, got {type(strange[0]).__name__}. Convert it "
            "first."
        )
    if present and all(
        isinstance(value, Real | Decimal) and not isinstance(value, bool) for value in present
    ):
        return np.array([math.nan if _absent(value) else _float(value) for value in values], dtype=np.float64)
    return clean(None if _absent(value) else _plain(value) for value in values)


def as_numbers(cells: Cells, *, decimal_comma: bool = False) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Numbers, NaN where there is none, and True where a cell is there but is no finite number.

    Example:
        >>> numbers, unreadable = as_numbers(clean(["1.5", "red", ""]))
        >>> numbers.tolist(), unreadable.tolist()
        ([1.5, nan, nan], [False, True, False])
    """
    if cells.dtype == np.float64:
        infinite = np.isinf(cells.astype(np.float64, copy=False))
        return np.where(infinite, math.nan, cells), infinite
    texts = [cell if cell else "nan" for cell in cells]
    if decimal_comma:
        texts = [text.replace(",", ".") for text in texts]
    numbers = np.array(_parsed(texts), dtype=np.float64)
    numbers[np.isinf(numbers)] = math.nan
    return numbers, np.isnan(numbers) & ~is_missing(cells)


def is_missing(cells: Cells) -> NDArray[np.bool_]:
    """True where there is no cell, or an empty one."""
    return np.array([cell is None or cell == "" or cell != cell for cell in cells], dtype=np.bool_)


def is_empty(cells: Cells) -> NDArray[np.bool_]:
    """True where a cell was left empty; not where it says that it is missing.

    Example:
        >>> is_empty(clean(["red", "N/A", ""])).tolist()
        [False, False, True]
    """
    return np.array([isinstance(cell, str) and not cell for cell in cells], dtype=np.bool_)


def as_strings(cells: Cells) -> NDArray[np.object_]:
    """Strings, ``None`` where a cell is missing; whole numbers are written without a decimal point."""
    if cells.dtype == np.object_:
        return np.array([cell if cell else None for cell in cells], dtype=object)
    return np.array([None if math.isnan(v) else _plain(v) for v in cells.tolist()], dtype=object)


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _absent(value: object) -> bool:
    return value is None or (isinstance(value, float | np.floating) and math.isnan(value))


def _plain(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _parsed(texts: list[str]) -> list[float]:
    # Python reads 1_000 as a number; in a table it is a name.
    if "_" not in "".join(texts):
        try:
            return [float(text) for text in texts]
        except ValueError:
            pass
    return [_number(text) for text in texts]


def _number(text: str) -> float:
    try:
        return float(text) if "_" not in text else math.nan
    except ValueError:
        return math.nan
