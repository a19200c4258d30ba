"""Scores of predicted numbers ``[N]`` against true ones ``[N]``."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["mae", "pearson", "r2", "rmse"]

Floats = NDArray[np.floating[Any]]


def r2(predictions: Floats, target: Floats) -> float:
    """Share of the target's variance that is explained; NaN for a constant target."""
    total = np.square(target - target.mean()).sum()
    return float(1 - np.square(target - predictions).sum() / total) if total > 0 else float("nan")


def rmse(predictions: Floats, target: Floats) -> float:
    """Root mean squared error, in the target's units."""
    return float(np.sqrt(np.square(target - predictions).mean()))


def mae(predictions: Floats, target: Floats) -> float:
    """Mean absolute error, in the target's units."""
    return float(np.abs(target - predictions).mean())


def pearson(predictions: Floats, target: Floats) -> float:
    """Correlation of predictions and target; NaN where one of them is constant."""
    a, b = predictions - predictions.mean(), target - target.mean()
    norm = np.sqrt(np.square(a).sum() * np.square(b).sum())
    return float((a * b).sum() / norm) if norm > 0 else float("nan")
