"""How pure clusters are."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["purity"]

Ints = NDArray[np.integer[Any]]


def purity(clusters: Ints, target: Ints) -> float:
    """Share of the rows whose class is the most frequent one of their cluster.

    Example:
        >>> purity(np.array([0, 0, 0, 1]), np.array([2, 2, 5, 5]))
        0.75
    """
    counts = np.zeros((clusters.max() + 1, target.max() + 1))
    np.add.at(counts, (clusters, target), 1)
    return float(counts.max(1).sum() / len(target))
