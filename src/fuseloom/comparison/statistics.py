"""Intervals: over seeds, and over rows by the paired bootstrap."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.comparison.result import Interval
from fuseloom.metrics.resampled import resampled
from fuseloom.tasks import Metric

__all__ = ["Scored", "Targets", "difference_interval", "over_runs", "resampled_scores"]

Scored = Sequence[Sequence[NDArray[np.floating[Any]]]]
"""Predictions of one model: for each fold an array per seed."""
Targets = Sequence[NDArray[Any]]
"""The truth of each fold."""

_MOST_CELLS = 2**22


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


def resampled_scores(
    models: Mapping[str, Scored], targets: Targets, metric: Metric, *, resamples: int = 500, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Score of each model on resampled rows, the same for all: ``[resamples]``, mean over folds and seeds.

    Rows are drawn within each fold. Higher is better, whichever way the metric points. A resample on which
    the metric is undefined scores NaN.
    """
    totals = {name: np.zeros(resamples) for name in models}
    for fold, target in enumerate(targets):
        drawn = _resamples(len(target), resamples, np.random.default_rng([seed, fold]))
        for place, counts in drawn:
            for name, model in models.items():
                scores = [resampled(metric.function, one, target, counts) for one in model[fold]]
                totals[name][place] += metric.better(np.mean(scores, axis=0))
    return {name: total / len(targets) for name, total in totals.items()}


def _resamples(
    rows: int, resamples: int, generator: np.random.Generator
) -> Iterator[tuple[slice, NDArray[np.integer[Any]]]]:
    """How often each row is drawn, a block of resamples at a time, so that memory stays small."""
    step = max(1, _MOST_CELLS // rows)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = generator.integers(rows, size=(count, rows)) + rows * np.arange(count)[:, None]
        counts = np.bincount(drawn.reshape(-1), minlength=count * rows).reshape(count, rows)
        yield slice(start, start + count), counts


def difference_interval(
    one: Scored, other: Scored, targets: Targets, metric: Metric, *, seed: int = 0
) -> Interval:
    """Score of one model minus that of another with the 95 % paired bootstrap interval over rows."""
    mean = _mean_score(one, targets, metric) - _mean_score(other, targets, metric)
    pair = {"one": one, "other": other}
    scores = resampled_scores(pair, targets, metric, resamples=2000, seed=seed)
    differences = scores["one"] - scores["other"]
    defined = differences[np.isfinite(differences)]
    if len(defined) == 0:
        return Interval(mean=mean)
    low, high = np.quantile(defined, [0.025, 0.975])
    return Interval(mean=mean, low=float(low), high=float(high))


def _mean_score(predictions: Scored, targets: Targets, metric: Metric) -> float:
    folds = [
        np.mean([metric.better(metric.function(seed, target)) for seed in fold])
        for fold, target in zip(predictions, targets, strict=True)
    ]
    return float(np.mean(folds))
