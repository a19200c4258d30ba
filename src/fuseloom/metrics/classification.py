"""Scores of class probabilities ``[N, K]`` against class indices ``[N]``."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.metrics._labels import label_f1

__all__ = ["accuracy", "auc", "balanced_accuracy", "log_loss", "macro_f1", "true_class_loss", "weighted_f1"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]


def accuracy(probabilities: Floats, target: Ints) -> float:
    """Share of rows whose likeliest class is the true one."""
    return float((probabilities.argmax(-1) == target).mean())


def balanced_accuracy(probabilities: Floats, target: Ints) -> float:
    """Mean over the classes present of the share of their rows that are recognised."""
    hit = probabilities.argmax(-1) == target
    return float(np.mean([hit[target == k].mean() for k in np.unique(target)]))


def macro_f1(probabilities: Floats, target: Ints) -> float:
    """Mean F1 over the classes that occur in the target or in the predictions."""
    predicted = probabilities.argmax(-1)
    scores = []
    for k in np.union1d(target, predicted):
        hits = ((predicted == k) & (target == k)).sum()
        scores.append(2 * hits / ((predicted == k).sum() + (target == k).sum()))
    return float(np.mean(scores))


def weighted_f1(probabilities: Floats, target: Ints) -> float:
    """Mean F1 over the classes of the target, each weighted by its share of the rows."""
    return label_f1(probabilities.argmax(-1), target)


def auc(probabilities: Floats, target: Ints) -> float:
    """Area under the ROC curve, each class against the rest, mean over the classes that can be scored.

    A class of which no row, or every row, is in the target cannot; NaN where none can.
    """
    from scipy.stats import rankdata

    classes = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    areas = []
    for k in classes:
        positive = target == k
        num_positive, num_negative = positive.sum(), (~positive).sum()
        if num_positive and num_negative:
            ranks = rankdata(probabilities[:, k])
            wins = ranks[positive].sum() - num_positive * (num_positive + 1) / 2
            areas.append(wins / (num_positive * num_negative))
    return float(np.mean(areas)) if areas else float("nan")


def log_loss(probabilities: Floats, target: Ints) -> float:
    """Mean negative logarithm of the true class's probability, in nats; probabilities floored at 1e-15."""
    return float(true_class_loss(probabilities, target).mean())


def true_class_loss(probabilities: Floats, target: Ints) -> Floats:
    """The same of each row, ``[N]``."""
    chosen = probabilities[np.arange(len(target)), target]
    losses: Floats = -np.log(np.maximum(chosen, 1e-15))
    return losses
