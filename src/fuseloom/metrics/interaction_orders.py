"""A table of a function of several arguments as a sum of what one, two, or more of them contribute."""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

__all__ = ["interaction_orders"]

Table = NDArray[np.float64]


def interaction_orders(table: Table, num_axes: int) -> list[Table]:
    """Split a full table by how many of its first axes act together; the parts add up to it.

    It is the analysis of variance of a balanced table without noise. Part 1 is the sum of a function of each
    axis, the mean of all included, that is nearest to the table by squares; part 2 the sum of a function of
    each pair that is nearest to what is left; and so on to what only all axes together explain. Different
    parts are orthogonal. Of three modalities they are the unimodal, bimodal and trimodal contributions (UC,
    BI and TI) of Wörtwein et al., 2022, equations 1 to 3.

    Args:
        table: ``[N_1, ..., N_M, ...]``, all combinations of ``M`` arguments.
        num_axes: ``M``.

    Returns:
        ``M`` tables of the shape of the first.

    Example:
        >>> a, b = np.array([0.0, 2.0]), np.array([1.0, 5.0])
        >>> additive, joint = interaction_orders(a[:, None] * b, 2)
        >>> additive.tolist(), joint.tolist()
        ([[-2.0, 2.0], [4.0, 8.0]], [[2.0, -2.0], [-2.0, 2.0]])
    """
    axes = range(num_axes)
    effects: dict[tuple[int, ...], Table] = {(): table.mean(tuple(axes), keepdims=True)}
    orders = []
    for size in range(1, num_axes + 1):
        for subset in combinations(axes, size):
            others = tuple(axis for axis in axes if axis not in subset)
            within = [part for k in range(size) for part in combinations(subset, k)]
            effects[subset] = table.mean(others, keepdims=True) - sum(effects[part] for part in within)
        orders.append(sum((effects[subset] for subset in combinations(axes, size)), np.zeros_like(table)))
    orders[0] = orders[0] + effects[()]
    return orders
