"""Entropy and mutual information of tables of probabilities or counts, in nats."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["coupling_entropy", "entropy", "miller_madow", "mutual_information"]

Floats = NDArray[np.floating[Any] | np.integer[Any]]


def entropy(table: Floats) -> float:
    """Entropy of the distribution that a table of masses of any shape is proportional to.

    Example:
        >>> bool(np.isclose(entropy(np.array([1.0, 1.0, 0.0])), np.log(2)))
        True
    """
    masses = table[table > 0] / table.sum()
    return float(-(masses * np.log(masses)).sum())


def mutual_information(table: Floats) -> float:
    """Information between the rows and the columns of a table of masses ``[n, K]``.

    Example:
        >>> bool(np.isclose(mutual_information(np.eye(4)), np.log(4)))
        True
        >>> mutual_information(np.ones((3, 2)))
        0.0
    """
    joint = table / table.sum()
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    there = (joint > 0) & (apart > 0)  # a product of tiny masses may underflow
    return max(0.0, float((joint[there] * np.log(joint[there] / apart[there])).sum()))


def miller_madow(counts: Floats) -> float:
    """How much too high the information between rows and columns of counts ``[n, K]`` is on average.

    Each entropy of a sample is too low by half the number of cells that were seen, less one, over the number
    of samples (Miller, 1955). It corrects what is left where every cell has several samples; where most cells
    have one, no correction is known that helps.

    Example:
        >>> miller_madow(np.full((3, 2), 10))
        0.016666666666666666
    """
    seen = np.count_nonzero(counts)
    rows, columns = np.count_nonzero(counts.sum(1)), np.count_nonzero(counts.sum(0))
    return float((seen - rows - columns + 1) / (2 * counts.sum()))


def coupling_entropy(first: Floats, second: Floats) -> float:
    """A lower bound on the joint entropy of two variables with these distributions ``[n]`` and ``[m]``.

    The entropy of their greatest lower bound in the order of majorisation (Cicalese et al., 2019): its
    cumulative masses are the smaller ones of the two, largest masses first.

    Example:
        >>> fair, loaded = np.array([0.5, 0.5]), np.array([0.75, 0.25])
        >>> bool(np.isclose(coupling_entropy(fair, loaded), np.log(2)))
        True
    """
    size = max(len(first), len(second))
    sums = []
    for masses in (first, second):
        ordered = np.sort(masses)[::-1] / masses.sum()
        sums.append(np.cumsum(np.pad(ordered, (0, size - len(ordered)))))
    return entropy(np.maximum(np.diff(np.minimum(*sums), prepend=0.0), 0.0))
