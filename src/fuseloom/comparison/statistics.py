"""Intervals: over seeds, and over rows by the paired bootstrap."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.comparison.result import Interval
from fuseloom.tasks import Metric

__all__ = ["Scored", "bootstrap_differences", "difference_interval", "over_seeds"]

Scored = Sequence[NDArray[np.floating[Any]]]
"""Predictions of one model, an array per seed."""


def over_seeds(scores: Sequence[float]) -> Interval:
    """Mean and 95 % t interval over training runs; no interval from a single one.

    Example:
        >>> over_seeds([0.5])
        Interval(mean=0.5, low=None, high=None)
    """
    from scipy.stats import t

    mean, count = float(np.mean(scores)), len(scores)
    if count < 2:
        return Interval(mean=mean)
    half = float(t.ppf(0.975, count - 1) * np.std(scores, ddof=1) / np.sqrt(count))
    return Interval(mean=mean, low=mean - half, high=mean + half)


def bootstrap_differences(
    one: Scored, other: Scored, target: NDArray[Any], metric: Metric, *, resamples: int = 500, seed: int = 0
) -> NDArray[np.float64]:
    """Score of one model minus another's on resampled rows, the same for both, mean over seeds.

    Positive is better for ``one``, whichever way the metric points. A resample on which the metric is
    undefined is left out.
    """
    generator = np.random.default_rng(seed)
    differences = []
    for _ in range(resamples):
        rows = generator.integers(len(target), size=len(target))
        differences.append(_mean_score(one, target, metric, rows) - _mean_score(other, target, metric, rows))
    values = np.array(differences)
    kept: NDArray[np.float64] = values[np.isfinite(values)]
    return kept


def difference_interval(
    one: Scored, other: Scored, target: NDArray[Any], metric: Metric, *, seed: int = 0
) -> Interval:
    """Score of one model minus that of another with the 95 % paired bootstrap interval over rows."""
    every = np.arange(len(target))
    mean = _mean_score(one, target, metric, every) - _mean_score(other, target, metric, every)
    drawn = bootstrap_differences(one, other, target, metric, resamples=2000, seed=seed)
    if len(drawn) == 0:
        return Interval(mean=mean)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(mean=mean, low=float(low), high=float(high))


def _mean_score(predictions: Scored, target: NDArray[Any], metric: Metric, rows: NDArray[np.intp]) -> float:
    return float(np.mean([metric.better(metric.function(p[rows], target[rows])) for p in predictions]))
