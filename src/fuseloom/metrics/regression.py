"""Scores of predicted numbers ``[N]`` against true ones ``[N]``.

Of several targets, ``[N, K]``, a score is the mean over the targets, each on the rows where it is known (not
NaN).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["OfTarget", "mae", "over_targets", "pearson", "r2", "rmse"]

Floats = NDArray[np.floating[Any]]
Score = Callable[[Floats, Floats], float]


@dataclass(frozen=True, kw_only=True)
class OfTarget:
    """The metric of one of several targets, on the rows where it is known; NaN where it never is.

    Example:
        >>> target = np.array([[1.0, 5.0], [2.0, np.nan]])
        >>> OfTarget(metric=mae, place=1)(np.zeros((2, 2)), target)
        5.0
    """

    metric: Score
    """Of predictions and targets ``[N]``."""
    place: int
    """Column of the target."""

    def __call__(self, predictions: Floats, target: Floats) -> float:
        """Score of predictions ``[N, K]`` against targets ``[N, K]``."""
        known = ~np.isnan(target[:, self.place])
        if not known.any():
            return float("nan")
        return self.metric(predictions[known, self.place], target[known, self.place])


def over_targets(metric: Score) -> Score:
    """The metric that of several targets is the mean over them; NaN where it is undefined for one.

    Example:
        >>> over_targets(mae)(np.zeros((2, 2)), np.array([[1.0, 5.0], [2.0, np.nan]]))
        3.25
    """

    @wraps(metric)
    def averaged(predictions: Floats, target: Floats) -> float:
        if target.ndim == 1:
            return metric(predictions, target)
        each = [OfTarget(metric=metric, place=k) for k in range(target.shape[1])]
        return float(np.mean([one(predictions, target) for one in each]))

    return averaged


@over_targets
def r2(predictions: Floats, target: Floats) -> float:
    """Share of the target's variance that is explained; NaN for a constant target."""
    if np.ptp(target) == 0:  # which rounding may hide from the variance
        return float("nan")
    return float(1 - np.square(target - predictions).sum() / np.square(target - target.mean()).sum())


@over_targets
def rmse(predictions: Floats, target: Floats) -> float:
    """Root mean squared error, in the target's units."""
    return float(np.sqrt(np.square(target - predictions).mean()))


@over_targets
def mae(predictions: Floats, target: Floats) -> float:
    """Mean absolute error, in the target's units."""
    return float(np.abs(target - predictions).mean())


@over_targets
def pearson(predictions: Floats, target: Floats) -> float:
    """Correlation of predictions and target; NaN where one of them is constant."""
    if np.ptp(predictions) == 0 or np.ptp(target) == 0:
        return float("nan")
    a, b = predictions - predictions.mean(), target - target.mean()
    return float((a * b).sum() / np.sqrt(np.square(a).sum() * np.square(b).sum()))
