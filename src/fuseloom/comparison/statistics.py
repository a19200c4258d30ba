"""Intervals: over seeds, and over rows by the paired bootstrap."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.comparison.result import Interval
from fuseloom.tasks import Metric

__all__ = ["Scored", "Targets", "bootstrap_differences", "difference_interval", "over_runs"]

Scored = Sequence[Sequence[NDArray[np.floating[Any]]]]
"""Predictions of one model: for each fold an array per seed."""
Targets = Sequence[NDArray[Any]]
"""The truth of each fold."""


def over_runs(scores: Sequence[Sequence[float]]) -> Interval:
    """Mean and 95 % t interval of scores by fold and seed.

    The interval is over the means of the folds, as runs on one fold share their rows; of a single fold it is
    over seeds, and of a single run there is none.

    Example:
        >>> over_runs([[0.5]])
        Interval(mean=0.5, low=None, high=None)
        >>> over_runs([[0.4, 0.6], [0.5, 0.5]])
        Interval(mean=0.5, low=0.5, high=0.5)
    """
    from scipy.stats import t

    values = scores[0] if len(scores) == 1 else [float(np.mean(fold)) for fold in scores]
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return Interval(mean=mean)
    half = float(t.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    return Interval(mean=mean, low=mean - half, high=mean + half)


def bootstrap_differences(
    one: Scored, other: Scored, targets: Targets, metric: Metric, *, resamples: int = 500, seed: int = 0
) -> NDArray[np.float64]:
    """Score of one model minus another's on resampled rows, the same for both, mean over folds and seeds.

    Rows are drawn within each fold. Positive is better for ``one``, whichever way the metric points. A
    resample on which the metric is undefined is left out.
    """
    generator = np.random.default_rng(seed)
    differences = []
    for _ in range(resamples):
        rows = [generator.integers(len(target), size=len(target)) for target in targets]
        first, second = (_mean_score(model, targets, metric, rows) for model in (one, other))
        differences.append(first - second)
    values = np.array(differences)
    kept: NDArray[np.float64] = values[np.isfinite(values)]
    return kept


def difference_interval(
    one: Scored, other: Scored, targets: Targets, metric: Metric, *, seed: int = 0
) -> Interval:
    """Score of one model minus that of another with the 95 % paired bootstrap interval over rows."""
    every = [np.arange(len(target)) for target in targets]
    mean = _mean_score(one, targets, metric, every) - _mean_score(other, targets, metric, every)
    drawn = bootstrap_differences(one, other, targets, metric, resamples=2000, seed=seed)
    if len(drawn) == 0:
        return Interval(mean=mean)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(mean=mean, low=float(low), high=float(high))


def _mean_score(
    predictions: Scored, targets: Targets, metric: Metric, rows: Sequence[NDArray[np.intp]]
) -> float:
    folds = [
        np.mean([metric.better(metric.function(seed[kept], target[kept])) for seed in fold])
        for fold, target, kept in zip(predictions, targets, rows, strict=True)
    ]
    return float(np.mean(folds))
