"""The contract of a preprocessor, and the sums over training rows that several need."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.preprocessing._windows import Windows
from fuseloom.errors import DataError

__all__ = ["Encoded", "Preprocessor", "chunks", "moments", "standardised", "usable_std"]

_CLIP = 10.0
_CHUNK = 4096
_CHUNK_BYTES = 2**26
Encoded = tuple[NDArray[Any], NDArray[np.bool_]]
"""Values ``[N, ...]`` and their mask, ``[N]`` or ``[N, T]``."""


@dataclass(frozen=True, kw_only=True)
class Preprocessor(ABC):
    """What was learnt from the training rows of one modality, ready to be applied to any row.

    Standardised values are cut at ten standard deviations, so that a broken sensor or a typing error cannot
    dominate a model (or overflow in half precision).
    """

    kind: ClassVar[str]
    reads: ClassVar[str]
    """The kind of modality it takes."""
    rows_at_once: ClassVar[int] = _CHUNK
    """How many rows are applied to at a time."""
    notes: tuple[str, ...] = ()
    """What happened to the rows it was fitted on."""

    @classmethod
    @abstractmethod
    def fit(cls, modality: Any, rows: NDArray[np.intp]) -> Self:
        """Learn from the given rows only; a kind may know settings besides, by keyword."""

    @abstractmethod
    def apply(self, modality: Any) -> Encoded:
        """Values ready to become a tensor, and their mask (True = real).

        Raises:
            DataError: the modality has not the width or columns it had in training.
        """

    def windows(self, modality: Any) -> dict[int, Windows]:
        """Row -> how it is divided, for texts of which `apply` would leave out words."""
        return {}

    @abstractmethod
    def encoder_options(self) -> dict[str, Any]:
        """Options of the encoder of this kind."""

    def keep(self, folder: Path) -> None:  # noqa: B027  most need none
        """Write the files that it needs besides its state."""

    def found(self, folder: Path) -> Self:
        """The same, with the files of `keep` in that folder."""
        return self

    def state(self) -> dict[str, Any]:
        """What `from_state` needs, in types that JSON knows."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild from `state`, also after JSON has made lists of tuples.

        Raises:
            DataError: entries are missing or unknown.
        """
        try:
            return cls(**{name: _tuples(value) for name, value in state.items()})
        except TypeError:
            raise DataError(
                f"The state of a {cls.kind} preprocessor must have its entries, got {sorted(state)}."
            ) from None


def moments(
    values: NDArray[np.float32], kept: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each feature over the kept rows or tokens, zero where none is kept."""
    count = max(int(kept.sum()), 1)

    def average(function: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.float64]:
        total = np.zeros(values.shape[-1])
        for part in chunks(values):
            total += function(values[part][kept[part]].astype(np.float64)).sum(axis=0)
        return total / count

    mean = average(lambda rows: rows)
    return mean, np.sqrt(average(lambda rows: (rows - mean) ** 2))


def chunks(values: NDArray[Any], *, rows: int | None = None, most: int = _CHUNK) -> Iterator[slice]:
    """Slices of rows of such values, few enough that float64 copies stay small; at least one.

    Args:
        values: ``[N, ...]``, in memory or mapped.
        rows: How many rows to divide; by default ``N``.
        most: Rows of a slice at most.
    """
    of_a_row = math.prod(values.shape[1:]) * values.dtype.itemsize
    step = max(1, min(most, _CHUNK_BYTES // max(of_a_row, 1)))
    return (slice(at, at + step) for at in range(0, max(len(values) if rows is None else rows, 1), step))


def usable_std(std: NDArray[np.float64], mean: NDArray[np.float64]) -> tuple[float, ...]:
    # The rounding of a constant's mean leaves a tiny deviation, which would blow up noise.
    constant = std <= 1e-12 * np.abs(mean)
    return tuple(np.where(constant | (std == 0), 1.0, std).tolist())


def standardised(
    values: NDArray[np.float32] | NDArray[np.float64], mean: NDArray[np.float64], std: NDArray[np.float64]
) -> NDArray[np.float64]:
    standard: NDArray[np.float64] = (values.astype(np.float64) - mean) / std
    return np.clip(standard, -_CLIP, _CLIP)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value
