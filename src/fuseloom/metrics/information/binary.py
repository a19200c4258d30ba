"""The least information about a binary target, in closed form."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.metrics.information.entropy import mutual_information

__all__ = ["least_binary_information", "upper_hull"]

Floats = NDArray[np.floating[Any] | np.integer[Any]]


def least_binary_information(first: Floats, second: Floats) -> float:
    """Least information in nats that two sources together tell of a binary target, from each alone.

    The curve of a source adds up its symbols' masses of the two classes, the likeliest for the second class
    first. A source can be computed from another, by chance and without the target, where its curve lies
    nowhere above. Two sources together reach at least both curves, so their hull; and a source with the hull
    as its curve suffices, as each of the two can be drawn from it independently of the other. The masses
    along the hull are therefore all that any joint distribution must tell.

    Args:
        first: Masses ``[n_1, 2]`` of the first source and the target.
        second: Those of the second source ``[n_2, 2]``, with the same masses of the target.

    Example:
        >>> first, second = np.array([[0.5, 0], [0.25, 0.25]]), np.array([[0.5, 0.125], [0.25, 0.125]])
        >>> bool(np.isclose(least_binary_information(first, second), mutual_information(first)))
        True
    """
    corners = upper_hull(np.concatenate([_curve(first), _curve(second)]))
    return mutual_information(np.maximum(np.diff(corners, axis=0), 0.0))


def _curve(masses: Floats) -> Floats:
    """Corners ``[n + 1, 2]`` from nothing to all, those first whose second class is likeliest."""
    seen = masses[masses.sum(1) > 0]
    order = np.argsort(-seen[:, 1] / seen.sum(1), kind="stable")
    return np.concatenate([np.zeros((1, 2)), np.cumsum(seen[order], axis=0)])


def upper_hull(points: Floats) -> Floats:
    """Corners of the smallest concave curve over the points ``[N, 2]``, from left to right.

    Example:
        >>> upper_hull(np.array([[0.0, 0.0], [1.0, 1.0], [0.5, 0.2], [0.2, 0.6]])).tolist()
        [[0.0, 0.0], [0.2, 0.6], [1.0, 1.0]]
    """
    corners: list[tuple[float, float]] = []
    for x, y in sorted(map(tuple, points.tolist())):
        while len(corners) > 1:
            (x0, y0), (x1, y1) = corners[-2:]
            if (x1 - x0) * (y - y0) < (y1 - y0) * (x - x0):
                break
            corners.pop()
        corners.append((x, y))
    return np.array(corners)
