"""Scores of several predictions on the same resamples of the rows, as paired intervals need them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.metrics.resampled import resampled
from fuseloom.tasks import Metric

__all__ = ["resampled_scores"]

Floats = NDArray[np.floating[Any]]
Scores = NDArray[np.float64]

_MOST_CELLS = 2**22


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
