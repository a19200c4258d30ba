"""Scores of probabilities ``[N, K]`` that each of K classes is there, against 0/1 targets ``[N, K]``.

A class is predicted where its probability is at least one half.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "auc",
    "cell_loss",
    "exact_match",
    "hamming_loss",
    "log_loss",
    "macro_f1",
    "mean_average_precision",
    "micro_f1",
    "row_f1",
    "sample_f1",
    "weighted_f1",
]

Floats = NDArray[np.floating[Any]]
Scores = NDArray[np.float64]


def macro_f1(probabilities: Floats, target: NDArray[Any]) -> float:
    """Mean F1 over the classes that occur in the target or in the predictions; NaN where none does."""
    hits, either, _ = _by_class(probabilities, target)
    return _mean(2 * hits[either > 0] / either[either > 0])


def micro_f1(probabilities: Floats, target: NDArray[Any]) -> float:
    """F1 of all cells together; NaN where no class occurs in the target or in the predictions."""
    hits, either, _ = _by_class(probabilities, target)
    return float(2 * hits.sum() / either.sum()) if either.sum() else float("nan")


def weighted_f1(probabilities: Floats, target: NDArray[Any]) -> float:
    """Mean F1 over the classes, each weighted by its rows in the target; NaN where no row has a class."""
    hits, either, there = _by_class(probabilities, target)
    known = there > 0
    return (
        float((there * 2 * hits)[known] @ (1 / either[known]) / there.sum()) if known.any() else float("nan")
    )


def sample_f1(probabilities: Floats, target: NDArray[Any]) -> float:
    """Mean F1 over the rows; 1 for a row without classes of which none is predicted."""
    return _mean(row_f1(probabilities, target))


def exact_match(probabilities: Floats, target: NDArray[Any]) -> float:
    """Share of rows of which every class is right."""
    return float(((probabilities >= 0.5) == (target > 0)).all(-1).mean())


def hamming_loss(probabilities: Floats, target: NDArray[Any]) -> float:
    """Share of cells that are wrong."""
    return float(((probabilities >= 0.5) != (target > 0)).mean())


def log_loss(probabilities: Floats, target: NDArray[Any]) -> float:
    """Mean negative logarithm of each cell's probability, in nats; probabilities floored at 1e-15."""
    return float(cell_loss(probabilities, target).mean())


def auc(probabilities: Floats, target: NDArray[Any]) -> float:
    """Area under the ROC curve, mean over the classes that some rows have and some have not."""
    from scipy.stats import rankdata

    areas = []
    for score, positive in zip(probabilities.T, target.T > 0, strict=True):
        num_positive, num_negative = positive.sum(), (~positive).sum()
        if num_positive and num_negative:
            wins = rankdata(score)[positive].sum() - num_positive * (num_positive + 1) / 2
            areas.append(wins / (num_positive * num_negative))
    return _mean(np.array(areas))


def mean_average_precision(probabilities: Floats, target: NDArray[Any]) -> float:
    """Average precision (sum of precision times gained recall), mean over the classes that some row has.

    Rows of equal probability count together, so their order is of no matter.
    """
    precisions = [
        _average_precision(s, t) for s, t in zip(probabilities.T, target.T > 0, strict=True) if t.any()
    ]
    return _mean(np.array(precisions))


def row_f1(probabilities: Floats, target: NDArray[Any]) -> Scores:
    """F1 of each row, ``[N]``."""
    chosen, true = probabilities >= 0.5, target > 0
    either = chosen.sum(-1) + true.sum(-1)
    return np.where(either > 0, 2 * (chosen & true).sum(-1) / np.maximum(either, 1), 1.0)


def cell_loss(probabilities: Floats, target: NDArray[Any]) -> Scores:
    """Negative logarithm of the probability of what each cell is, ``[N, K]``."""
    chosen = np.where(target > 0, probabilities, 1 - probabilities).astype(np.float64)
    losses: Scores = -np.log(np.maximum(chosen, 1e-15))
    return losses


def _average_precision(score: Floats, positive: NDArray[np.bool_]) -> float:
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)  # of rows that share a probability
    hits = np.cumsum(positive[order])[last]
    precision = hits / (np.flatnonzero(last) + 1)
    return float((np.diff(hits, prepend=0) * precision).sum() / positive.sum())


def _by_class(probabilities: Floats, target: NDArray[Any]) -> tuple[Scores, Scores, Scores]:
    """Rows recognised, rows in target plus rows predicted, and rows in the target, of each class ``[K]``."""
    chosen, true = probabilities >= 0.5, target > 0
    hits, there, predicted = (one.sum(0).astype(np.float64) for one in (chosen & true, true, chosen))
    return hits, there + predicted, there


def _mean(values: Scores) -> float:
    return float(values.mean()) if len(values) else float("nan")
