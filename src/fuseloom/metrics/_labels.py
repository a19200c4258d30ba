"""Scores of predicted class labels ``[N]`` against true ones ``[N]``."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["label_f1"]


def label_f1(predicted: NDArray[Any], target: NDArray[Any]) -> float:
    """F1 of each class, averaged by the share that the class has in the target; NaN without rows.

    Exchanging the arguments keeps each F1 and averages by the shares in the predictions instead.
    """
    if not len(target):
        return float("nan")
    total = 0.0
    for label, count in zip(*np.unique(target, return_counts=True), strict=True):
        hits = ((predicted == label) & (target == label)).sum()
        total += count * 2 * hits / ((predicted == label).sum() + count)
    return float(total / len(target))
