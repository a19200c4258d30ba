"""How differently several predictors answer for the same rows, and how differently they err."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["disagreement", "double_fault", "kappa", "q_statistic"]

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]
Shares = NDArray[np.float64]
"""Of rows ``[..., 2, 2]``: first axis whether one errs, last axis whether the other does."""


def disagreement(predictions: Floats, there: NDArray[np.bool_] | None = None) -> Doubles:
    """How far predictors differ on each row, ``[N]``; 0 where fewer than two answer.

    Of classes the Jensen-Shannon divergence of the probabilities, from 0 (the same) to 1 (sure and
    different); of numbers the largest less the smallest.

    Args:
        predictions: Probabilities ``[M, N, K]`` of ``M`` predictors, or numbers ``[M, N]``.
        there: Which of them answer, ``[M, N]``; by default all.

    Example:
        >>> disagreement(np.array([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]])).tolist()
        [1.0, 0.0]
        >>> disagreement(np.array([[1.0, 2.0], [4.0, 2.5]])).tolist()
        [3.0, 0.5]
    """
    kept = np.ones(predictions.shape[:2], dtype=np.bool_) if there is None else there
    count = kept.sum(0)
    if predictions.ndim == 2:
        high = np.where(kept, predictions, -np.inf).max(0)
        low = np.where(kept, predictions, np.inf).min(0)
        return np.where(count > 1, high, 0.0) - np.where(count > 1, low, 0.0)
    shares = kept / np.maximum(count, 1)  # [M, N]
    mean = (shares[..., None] * np.where(kept[..., None], predictions, 0.0)).sum(0)
    own = (shares * np.where(kept, _entropy(predictions), 0.0)).sum(0)
    most = np.log(np.clip(count, 2, max(predictions.shape[-1], 2)))
    found: Doubles = np.where(count > 1, np.maximum(_entropy(mean) - own, 0.0) / most, 0.0)
    return found


def _entropy(probabilities: Floats) -> Doubles:
    logs = np.log(np.where(probabilities > 0, probabilities, 1.0))
    entropy: Doubles = -(probabilities * logs).sum(-1)
    return entropy


def double_fault(shares: Shares) -> Doubles:
    """Share of rows on which both err (Giacinto and Roli, 2001); no fusion of their choices helps there.

    Args:
        shares: ``[..., 2, 2]``.

    Example:
        >>> float(double_fault(np.array([[0.7, 0.1], [0.1, 0.1]])))
        0.1
    """
    return shares[..., 1, 1]


def q_statistic(shares: Shares) -> Doubles:
    """Yule's Q of their errors: 1 where they err together, 0 independently, -1 never together.

    NaN where one of them always errs or never does.

    Args:
        shares: ``[..., 2, 2]``.

    Example:
        >>> q_statistic(np.array([[[0.25, 0.25], [0.25, 0.25]], [[0.5, 0.0], [0.2, 0.3]]])).tolist()
        [0.0, 1.0]
    """
    together = shares[..., 0, 0] * shares[..., 1, 1]
    apart = shares[..., 0, 1] * shares[..., 1, 0]
    return _ratio(together - apart, together + apart)


def kappa(shares: Shares) -> Doubles:
    """Cohen's kappa of their errors: how much more often than by chance both err or neither does.

    NaN where both always err, or never.

    Args:
        shares: ``[..., 2, 2]``.

    Example:
        >>> kappa(np.array([[0.4, 0.1], [0.1, 0.4]])).round(9).tolist()
        0.6
    """
    agree = shares[..., 0, 0] + shares[..., 1, 1]
    one, other = shares.sum(-1), shares.sum(-2)  # [..., 2]
    chance = (one * other).sum(-1)
    return _ratio(agree - chance, 1 - chance)


def _ratio(above: Doubles, below: Doubles) -> Doubles:
    defined = np.abs(below) > 1e-12
    ratio: Doubles = np.divide(above, below, out=np.full_like(below, np.nan), where=defined)
    return ratio
