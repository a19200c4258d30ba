"""P-values of several tests at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["holm"]


def holm(p_values: Sequence[float] | NDArray[Any]) -> list[float]:
    """P-values corrected for their number: rejecting those up to alpha errs in any of them at most so often.

    After Holm, 1979: the smallest counts as often as there are values, the next one time less, and so on.

    Example:
        >>> holm([0.01, 0.04, 0.02])
        [0.03, 0.04, 0.04]
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    corrected = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(corrected, 1.0)
    return adjusted.tolist()
