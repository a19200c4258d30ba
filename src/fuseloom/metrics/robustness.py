"""How well a score holds while the input gets worse, as MultiBench measures it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["effective_robustness", "relative_robustness", "rescaled"]

Floats = NDArray[np.floating[Any]]


def relative_robustness(scores: Floats, severities: Floats) -> Floats:
    r"""Area under the curve, :math:`\tau = \sum_i (s_{i+1} - s_i)(f_i + f_{i+1}) / 2`.

    Args:
        scores: ``[S, ...]``, such as a curve ``[S]`` or one per resample ``[S, R]``.
        severities: ``[S]``, rising.

    Example:
        >>> float(relative_robustness(np.array([1.0, 0.5, 0.5]), np.array([0.0, 0.5, 1.0])))
        0.625
    """
    widths = np.diff(severities).reshape(-1, *[1] * (scores.ndim - 1))
    area: Floats = (widths * (scores[1:] + scores[:-1]) / 2).sum(0)
    return area


def effective_robustness(scores: Floats, reference: Floats) -> Floats:
    r"""What a curve keeps beyond a reference that is moved to the same start.

    .. math:: \rho = \sum_i f_i - \beta_i, \quad \beta_i = r_i + (f_0 - r_0)

    A sum over severities, not a mean; in MultiBench the reference is late fusion.

    Args:
        scores: ``[S, ...]``, the first without corruption.
        reference: The same of another model.

    Example:
        >>> float(effective_robustness(np.array([1.0, 0.75]), np.array([0.75, 0.25])))
        0.25
    """
    kept: Floats = (scores - scores[0] - reference + reference[0]).sum(0)
    return kept


def rescaled(value: float, others: Floats, *, higher_is_better: bool = True) -> float:
    """A robustness among those of other models on the same data: 0 is the worst of all, 1 the best.

    Args:
        value: Of the model.
        others: Of the models it is compared with, ``[K]``.
        higher_is_better: As of the scores that the robustness sums; False for errors.

    Example:
        >>> rescaled(0.5, np.array([0.25, 1.25]))
        0.25
    """
    every = np.append(others, value)
    low, high = float(every.min()), float(every.max())
    if high == low:
        return 1.0
    share = (value - low) / (high - low)
    return share if higher_is_better else 1 - share
