"""Steps in time."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Series
from fuseloom.data.preprocessing._base import Encoded, Preprocessor, chunks, standardised, usable_std
from fuseloom.errors import DataError

__all__ = ["SeriesPreprocessor"]


@dataclass(frozen=True, kw_only=True)
class SeriesPreprocessor(Preprocessor):
    """Standardises each channel over the real steps of training rows; what is missing stays NaN.

    Where steps have times, a last channel holds them: since the row's first step, in median steps.
    """

    kind = "series"
    reads = "series"
    mean: tuple[float, ...]
    std: tuple[float, ...]
    step: float | None
    """Median time between steps; None where steps have no time."""

    @classmethod
    def fit(cls, modality: Series, rows: NDArray[np.intp]) -> Self:
        """Learn from the cells that are there."""
        mean, std = _moments(modality, rows)
        step = None if modality.time is None else _median_step(modality.time[rows], modality.mask[rows])
        return cls(mean=tuple(mean.tolist()), std=usable_std(std, mean), step=step)

    def apply(self, modality: Series) -> Encoded:
        """Values ``[N, T, C]`` or ``[N, T, C + 1]``, zero where masked, and the mask ``[N, T]``."""
        width, timed = len(self.mean), self.step is not None
        if modality.values.shape[-1] == 0:
            shape = (len(modality), 1)
            return np.zeros((*shape, width + timed), dtype=np.float32), np.zeros(shape, dtype=np.bool_)
        if modality.values.shape[-1] != width or (modality.time is not None) != timed:
            times = ("without", "with")
            raise DataError(
                f"Values must have shape [N, T, {width}] {times[timed]} times as in training, got "
                f"{modality.values.shape} {times[modality.time is not None]} times."
            )
        real = modality.mask
        known = np.where(np.isfinite(modality.values), modality.values, np.nan)
        parts = [standardised(known, np.array(self.mean), np.array(self.std)).astype(np.float32)]
        if modality.time is not None:
            parts.append(self._since_first(modality.time, real)[..., None])
        return np.where(real[..., None], np.concatenate(parts, axis=-1), np.float32(0)), real

    def encoder_options(self) -> dict[str, Any]:
        """Number of channels, that of the times included, and whether there are times."""
        timed = self.step is not None
        return {"in_dim": len(self.mean) + timed, "timed": timed}

    def _since_first(self, time: NDArray[np.float64], real: NDArray[np.bool_]) -> NDArray[np.float32]:
        first = np.where(real, time, np.inf).min(axis=1, keepdims=True)
        since = np.where(real, time - np.where(np.isfinite(first), first, 0.0), 0.0)
        return (since / (self.step or 1.0)).astype(np.float32)


def _moments(modality: Series, rows: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    count, total, squares = (np.zeros(modality.values.shape[-1]) for _ in range(3))
    mean = np.zeros_like(total)
    for turn in range(2):  # the mean first, so that large values leave digits for the deviation
        for part in chunks(modality.values, rows=len(rows)):
            values = modality.values[rows[part]].astype(np.float64)
            there = np.isfinite(values) & modality.mask[rows[part]][..., None]
            if turn == 0:
                count += there.sum((0, 1))
                total += np.where(there, values, 0.0).sum((0, 1))
            else:
                squares += np.square(np.where(there, values - mean, 0.0)).sum((0, 1))
        mean = total / np.maximum(count, 1)
    return mean, np.sqrt(squares / np.maximum(count, 1))


def _median_step(time: NDArray[np.float64], real: NDArray[np.bool_]) -> float:
    both = real[:, 1:] & real[:, :-1]
    steps = np.diff(time, axis=1)[both]
    steps = steps[steps > 0]
    return float(np.median(steps)) if len(steps) else 1.0
