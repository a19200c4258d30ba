"""Whether probabilities mean what they say: reliability, calibration error and temperature.

The terms are those of Guo et al., On Calibration of Modern Neural Networks, 2017.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Bin",
    "calibration_error",
    "equal_mass",
    "equal_width",
    "fit_temperature",
    "reliability_curve",
    "tempered",
]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
Edges = Callable[[Floats, int], Floats]
"""Confidences ``[N]`` and a number of bins to the ends of the bins, in order."""

_LEAST, _MOST = 0.01, 100.0
_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Rows of about the same confidence, the probability of the class that was chosen."""

    count: int
    confidence: float
    """Their mean."""
    accuracy: float
    """Share of them whose chosen class is the true one."""


def equal_width(confidence: Floats, num_bins: int) -> Floats:
    """Ends of bins that are equally wide between zero and one.

    Example:
        >>> equal_width(np.array([0.9]), 4).tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    return np.linspace(0.0, 1.0, num_bins + 1)


def equal_mass(confidence: Floats, num_bins: int) -> Floats:
    """Ends of bins that hold equally many rows, as far as rows of equal confidence allow.

    Example:
        >>> equal_mass(np.array([0.5, 0.6, 0.7, 0.8]), 2).tolist()
        [0.0, 0.6, 0.8]
    """
    ordered = np.sort(confidence)
    last = len(ordered) * np.arange(1, num_bins + 1) // num_bins - 1
    return np.unique([0.0, *ordered[last[last >= 0]]])


def reliability_curve(
    probabilities: Floats, target: Ints, *, edges: Edges = equal_width, num_bins: int = 15
) -> tuple[Bin, ...]:
    """Confidence against accuracy in bins of confidence, least confident first; bins without rows left out.

    A bin reaches from above its lower end up to its upper end.

    Args:
        probabilities: ``[N, K]``.
        target: Class indices ``[N]``.
        edges: `equal_width` or `equal_mass`.
        num_bins: How many bins at most.

    Example:
        >>> probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
        >>> reliability_curve(probabilities, np.array([0, 1, 1]), num_bins=2)[0].count
        3
    """
    confidence = probabilities.max(-1)
    hit = probabilities.argmax(-1) == target
    ends = edges(confidence, num_bins)
    place = np.searchsorted(ends[1:-1], confidence, side="left")
    return tuple(
        Bin(
            count=int(kept.sum()),
            confidence=float(confidence[kept].mean()),
            accuracy=float(hit[kept].mean()),
        )
        for kept in (place == bin_ for bin_ in np.unique(place))
    )


def calibration_error(
    probabilities: Floats, target: Ints, *, edges: Edges = equal_width, num_bins: int = 15
) -> float:
    """Expected calibration error (ECE): mean distance of confidence and accuracy over bins, by their rows.

    It is of the top label: of the class that was chosen, not of all. Bins of equal mass give the variant that
    is called adaptive.

    Args:
        probabilities: ``[N, K]``.
        target: Class indices ``[N]``.
        edges: `equal_width` or `equal_mass`.
        num_bins: How many bins at most.

    Example:
        >>> probabilities = np.array([[0.9, 0.1], [0.9, 0.1]])
        >>> round(calibration_error(probabilities, np.array([0, 1])), 6)
        0.4
    """
    curve = reliability_curve(probabilities, target, edges=edges, num_bins=num_bins)
    gaps = (one.count * abs(one.accuracy - one.confidence) for one in curve)
    return float(sum(gaps) / len(target))


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """The probabilities of logits divided by a temperature: above one less confident, below one more.

    The order of the classes stays, and so does accuracy.

    Args:
        probabilities: ``[N, K]``.
        temperature: Positive.

    Example:
        >>> tempered(np.array([[0.8, 0.2]]), 2.0).round(3).tolist()
        [[0.667, 0.333]]
    """
    return _softmax(_logits(probabilities) / temperature)


def fit_temperature(probabilities: Floats, target: Ints) -> float:
    """The temperature that gives the lowest log-loss, between 0.01 and 100; fit it on validation rows.

    The log-loss is convex in the inverse temperature, so its slope has one root or none.

    Args:
        probabilities: ``[N, K]``.
        target: Class indices ``[N]``.

    Example:
        >>> probabilities = np.array([[0.9, 0.1]] * 4)  # sure of a class that is right in three of four rows
        >>> round(fit_temperature(probabilities, np.array([0, 0, 0, 1])), 3)
        2.0
    """
    from scipy.optimize import brentq

    logits = _logits(probabilities)
    right = logits[np.arange(len(target)), target]

    def slope(log_temperature: float) -> float:
        """Of the log-loss over the inverse temperature: it grows with that."""
        expected = (_softmax(logits * np.exp(-log_temperature)) * logits).sum(-1)
        return float((expected - right).mean())

    low, high = np.log(_LEAST), np.log(_MOST)
    if slope(low) <= 0:
        return _LEAST
    if slope(high) >= 0:
        return _MOST
    return float(np.exp(brentq(slope, low, high, xtol=1e-10)))


def _logits(probabilities: Floats) -> Floats:
    logits: Floats = np.log(np.maximum(probabilities, _TINY))
    return logits


def _softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities: Floats = shifted / shifted.sum(-1, keepdims=True)
    return probabilities
