"""What repeated training runs say: a mean over seeds, and a difference of runs in pairs."""

from collections.abc import Sequence

import numpy as np

from fuseloom.comparison.statistics import Estimate
from fuseloom.metrics.interval import Interval

__all__ = ["over_seeds", "paired_by_seed"]


def over_seeds(scores: Sequence[float]) -> Interval:
    """Mean of one score per seed, with the 95 % interval of Student's t.

    It says how much other seeds would move the mean, and nothing of other rows. A single seed has no limits.

    Args:
        scores: One per seed; the mean is NaN where one is.

    Example:
        >>> found = over_seeds([0.8, 0.9, 0.85])
        >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3)
        (0.85, 0.726, 0.974)
        >>> over_seeds([0.8])
        Interval(mean=0.8, low=None, high=None)
    """
    values = np.asarray(scores, np.float64)
    with np.errstate(invalid="ignore"):
        mean, degrees = float(values.mean()), len(values) - 1
        if degrees == 0:
            return Interval(mean=mean)
        error = float(values.std(ddof=1) / np.sqrt(len(values)))
    return Estimate(mean=mean, below=error, above=error, degrees=degrees).interval()


def paired_by_seed(
    one: Sequence[float], other: Sequence[float], *, higher_is_better: bool = True
) -> Interval:
    """How much better ``one`` is than ``other``, seed by seed, with its interval; positive is better.

    Runs of one seed share their split and, as far as the models are alike, their first weights and the order
    of their rows. What these move in both is not in the difference.

    Args:
        one: A score per seed.
        other: Those of the same seeds.
        higher_is_better: Of the scores.

    Example:
        >>> found = paired_by_seed([0.8, 0.9, 0.7], [0.7, 0.8, 0.62])
        >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3)
        (0.093, 0.065, 0.122)
    """
    first, second = (one, other) if higher_is_better else (other, one)
    with np.errstate(invalid="ignore"):
        return over_seeds(np.subtract(first, second).tolist())
