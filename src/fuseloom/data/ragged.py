"""Arrays of a row each, laid beside one another."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Embedding
from fuseloom.errors import DataError

__all__ = ["Problems", "padded", "stacked"]

Problems = dict[int, str]
"""Row -> the first reason why it cannot be used."""

_NUMBERS = "biuf"


def stacked(name: str, arrays: Sequence[NDArray[Any] | None], problems: Problems) -> Embedding:
    """Vectors ``[D]``, or sequences ``[T, D]`` padded to the longest, as one embedding; ``None`` = missing.

    An array unlike most others is a problem of its row.

    Raises:
        DataError: no array, arrays that are not numbers, or more than half of them unlike the others.

    Example:
        >>> stacked("steps", [np.ones((1, 2)), None, np.ones((3, 2))], {}).mask.tolist()
        [[True, False, False], [False, False, False], [True, True, True]]
    """
    there = {row: array for row, array in enumerate(arrays) if array is not None}
    if not there:
        reason = f"; the first row: {next(iter(problems.values()))}" if problems else ""
        raise DataError(f"{name!r} must have an array in some row, got none{reason}.")
    axes, width = _common(name, list(there.values()))
    for row, array in there.items():
        if _form(array) != (axes, width):
            shape = f"[{width}]" if axes == 1 else f"[T, {width}]"
            found = f"{array.dtype} of shape {array.shape}"
            problems.setdefault(row, f"{name}: must be numbers {shape} as in most rows, got {found}")
    fitting = {row: array for row, array in there.items() if _form(array) == (axes, width)}
    length = max([1, *(len(array) for array in fitting.values())]) if axes == 2 else 1
    values = np.full((len(arrays), length, width), np.nan, dtype=np.float32)
    for row, array in fitting.items():
        steps = array.reshape(-1, width)
        with np.errstate(over="ignore"):
            values[row, : len(steps)] = steps
    kept = values if axes == 2 else values[:, 0]
    return Embedding(values=kept, mask=np.asarray(~np.isnan(kept).all(axis=-1)))


def padded(name: str, rows: Sequence[Any], lengths: Sequence[int], fill: Any) -> NDArray[Any]:
    """A value per step of ragged sequences ``[N, T]``, with ``fill`` behind the end.

    Raises:
        DataError: a row that has not one value per step.
    """
    out = np.full((len(lengths), max([1, *lengths])), fill)
    for row, (value, length) in enumerate(zip(rows, lengths, strict=True)):
        steps = np.asarray([] if value is None else value)
        if steps.shape != (length,):
            raise DataError(
                f"{name} must have one value per step, got shape {steps.shape} in row {row} of {length} "
                "steps."
            )
        out[row, :length] = steps
    return out


def _form(array: NDArray[Any]) -> tuple[int, int] | None:
    """Number of axes and width; None for what is neither a vector nor a sequence of numbers."""
    fits = array.ndim in (1, 2) and array.shape[-1] > 0 and array.dtype.kind in _NUMBERS
    return (array.ndim, array.shape[-1]) if fits else None


def _common(name: str, arrays: Sequence[NDArray[Any]]) -> tuple[int, int]:
    form, count = Counter(_form(array) for array in arrays).most_common(1)[0]
    if form is not None and 2 * count > len(arrays):
        return form
    seen = ", ".join(sorted({f"{array.dtype} {array.shape}" for array in arrays})[:3])
    raise DataError(
        f"{name!r} must hold vectors [D] or sequences [T, D] of numbers and of one width, got arrays such as "
        f"{seen}."
    )
