"""Whether two quantities rise together, by their ranks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["spearman"]

Floats = NDArray[np.floating[Any]]


def spearman(one: Floats, other: Floats) -> float:
    """Spearman's correlation of ``[N]`` with ``[N]``; equal values share their mean rank.

    NaN where one of them does not vary.

    Example:
        >>> round(spearman(np.array([1.0, 2.0, 9.0]), np.array([0.1, 0.3, 0.2])), 6)
        0.5
    """
    from scipy.stats import rankdata

    ranks = rankdata(one), rankdata(other)
    centred = [rank - rank.mean() for rank in ranks]
    scale = np.sqrt((centred[0] @ centred[0]) * (centred[1] @ centred[1]))
    return float(centred[0] @ centred[1] / scale) if scale > 0 else float("nan")
