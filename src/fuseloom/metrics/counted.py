"""Metrics that only depend on sums over rows, such as the F1 of entities."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["OfCounts", "f1_of", "precision_of", "ratio_of", "recall_of"]

Floats = NDArray[np.floating[Any]]
Sums = NDArray[np.float64]


@dataclass(frozen=True)
class OfCounts:
    """A metric that is counted row by row and scored by the sums, so that a resample need not count again.

    Example:
        >>> metric = OfCounts(lambda guess, true: np.stack([guess == true, true == true], -1), ratio_of)
        >>> metric(np.array([1.0, 2.0]), np.array([1.0, 5.0]))
        0.5
    """

    count: Callable[[Floats, NDArray[Any]], NDArray[Any]]
    """Predictions and targets of ``N`` rows to what is summed, ``[N, C]``."""
    score: Callable[[Sums], Sums]
    """Sums ``[..., C]`` to scores ``[...]``."""

    def __call__(self, predictions: Floats, target: NDArray[Any]) -> float:
        """Score of all rows."""
        return float(self.score(self.count(predictions, target).sum(0).astype(np.float64)))


def ratio_of(sums: Sums) -> Sums:
    """The first over the second; NaN where that is zero.

    Example:
        >>> ratio_of(np.array([[1.0, 4.0], [0.0, 0.0]])).tolist()
        [0.25, nan]
    """
    return _ratio(sums[..., 0], sums[..., 1], none=np.nan)


def precision_of(sums: Sums) -> Sums:
    """Of sums of the correct, the predicted and the true; 0 where nothing is predicted.

    Example:
        >>> float(precision_of(np.array([1.0, 4.0, 2.0])))
        0.25
    """
    return _ratio(sums[..., 0], sums[..., 1], none=0.0)


def recall_of(sums: Sums) -> Sums:
    """Of sums of the correct, the predicted and the true; 0 where nothing is true.

    Example:
        >>> float(recall_of(np.array([1.0, 4.0, 2.0])))
        0.5
    """
    return _ratio(sums[..., 0], sums[..., 2], none=0.0)


def f1_of(sums: Sums, *, none: float = 0.0) -> Sums:
    """Of sums of the correct, the predicted and the true; ``none`` where there is nothing at all.

    Example:
        >>> float(f1_of(np.array([1.0, 1.0, 3.0])))
        0.5
    """
    return _ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2], none=none)


def _ratio(above: Sums, below: Sums, *, none: float) -> Sums:
    ratio: Sums = np.divide(above, below, out=np.full(np.shape(below), none), where=below > 0)
    return ratio
