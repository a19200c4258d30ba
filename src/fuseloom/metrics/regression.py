"""Scores of predicted numbers ``[N]`` against true ones ``[N]``."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["mae", "pearson", "r2", "rmse"]

Floats = NDArray[np.floating[Any]]


def r2(predictions: Floats, target: Floats) -> float:
    """Share of the target's variance that is explained; NaN for a constant target."""
    if np.ptp(target) == 0:  # which rounding may hide from the variance
        return float("nan")
    return float(1 - np.square(target - predictions).sum() / np.square(target - target.mean()).sum())


def rmse(predictions: Floats, target: Floats) -> float:
    """Root mean squared error, in the target's units."""
    return float(np.sqrt(np.square(target - predictions).mean()))


def mae(predictions: Floats, target: Floats) -> float:
    """Mean absolute error, in the target's units."""
    return float(np.abs(target - predictions).mean())


def pearson(predictions: Floats, target: Floats) -> float:
    """Correlation of predictions and target; NaN where one of them is constant."""
    if np.ptp(predictions) == 0 or np.ptp(target) == 0:
        return float("nan")
    a, b = predictions - predictions.mean(), target - target.mean()
    return float((a * b).sum() / np.sqrt(np.square(a).sum() * np.square(b).sum()))
