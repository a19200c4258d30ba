"""Scores of several predictions on the same resamples of the rows, as paired intervals need them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.errors import DataError
from fuseloom.metrics.interval import Interval
from fuseloom.metrics.resampled import resampled
from fuseloom.tasks import Metric
from fuseloom.types import Batch

__all__ = ["interval_of", "known_target", "resampled_scores", "scored"]

Floats = NDArray[np.floating[Any]]
Scores = NDArray[np.float64]

_MOST_CELLS = 2**22
_MOST_VALUES = 2**24
"""Predictions in memory at once."""


def resampled_scores(
    predictions: Sequence[Floats],
    target: NDArray[Any],
    metric: Metric,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Scores:
    """Scores ``[S, R]`` of each prediction on the same resamples of the rows; higher is better.

    A difference of two of its rows is the paired bootstrap of the difference. Where a resample cannot be
    scored it is NaN.

    Args:
        predictions: ``[N, K]`` or ``[N]`` each.
        target: ``[N]``, or ``[N, K]`` of several.
        metric: Scores them.
        resamples: ``R``.
        seed: Of the resamples.

    Example:
        >>> from fuseloom.tasks.classification import Classification
        >>> right, wrong, target = np.eye(2)[[0, 1]], np.eye(2)[[1, 0]], np.array([0, 1])
        >>> resampled_scores([right, wrong], target, Classification.metrics["accuracy"], resamples=2)
        array([[1., 1.],
               [0., 0.]])
    """
    rows, generator = len(target), np.random.default_rng(seed)
    step = max(1, _MOST_CELLS // rows)  # a block at a time, so that memory stays small
    blocks = []
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        counts = generator.multinomial(rows, np.full(rows, 1 / rows), size=size)
        blocks.append([resampled(metric.function, guess, target, counts) for guess in predictions])
    scores: Scores = metric.better(1.0) * np.concatenate(blocks, axis=1)
    return scores


def known_target(rows: Batch) -> NDArray[Any]:
    """The target of the rows ``[N]`` or ``[N, K]``, encoded.

    Raises:
        DataError: they have none.
    """
    if rows.target is None:
        raise DataError(
            "rows must have a target to be scored, got none. Give held-out rows with their truth."
        )
    return rows.target.cpu().numpy()


def scored(
    predictions: Iterable[Floats],
    target: NDArray[Any],
    metric: Metric,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Scores:
    """Scores ``[S, 1 + R]`` of many predictions: on all rows first, then as `resampled_scores` gives them.

    Few predictions are in memory at once, so that they may be made while they are asked for.

    Args:
        predictions: ``[N, K]`` or ``[N]`` each.
        target: ``[N]``, or ``[N, K]`` of several.
        metric: Scores them.
        resamples: ``R``.
        seed: Of the resamples.

    Example:
        >>> from fuseloom.tasks.regression import Regression
        >>> guesses = (np.full(2, value) for value in (1.0, 2.0))
        >>> scored(guesses, np.array([1.0, 1.0]), Regression.metrics["mae"], resamples=1)
        array([[-0., -0.],
               [-1., -1.]])
    """
    found = []
    for group in _groups(predictions):
        whole = [[metric.better(metric.function(guess, target))] for guess in group]
        drawn = resampled_scores(group, target, metric, resamples=resamples, seed=seed)
        found.append(np.concatenate([whole, drawn], axis=1))
    return np.concatenate(found)


def _groups(predictions: Iterable[Floats]) -> Iterator[list[Floats]]:
    """As many at a time as may be in memory."""
    group: list[Floats] = []
    for guess in predictions:
        group.append(guess)
        if (len(group) + 1) * guess.size > _MOST_VALUES:
            yield group
            group = []
    if group:
        yield group


def interval_of(values: Floats) -> Interval:
    """What is known of ``[1 + R]`` values: the first with the interval of the others, its resamples.

    Example:
        >>> interval_of(np.array([0.5, 0.25, 0.75]))
        Interval(mean=0.5, low=0.2625, high=0.7375)
    """
    return Interval.from_resamples(float(values[0]), values[1:])
