"""An estimate, and how far it may be from the truth."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Interval"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with a 95 % confidence interval; ``low`` and ``high`` are None where there is none."""

    mean: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def from_resamples(cls, mean: float, resamples: NDArray[np.floating[Any]]) -> Self:
        """An estimate between the 2.5 and the 97.5 % quantile of what it is on resamples ``[R]``.

        Resamples on which it is not defined are left out.

        Example:
            >>> Interval.from_resamples(0.5, np.arange(41.0))
            Interval(mean=0.5, low=1.0, high=39.0)
        """
        defined = resamples[np.isfinite(resamples)]
        if len(defined) == 0:
            return cls(mean=mean)
        low, high = np.quantile(defined, [0.025, 0.975])
        return cls(mean=mean, low=float(low), high=float(high))
