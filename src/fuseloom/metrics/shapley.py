"""Shapley values: how a score that all players reach together is shared among them."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.errors import DataError

__all__ = [
    "Coalition",
    "coalitions",
    "drawn_orders",
    "marginal_gains",
    "mean_difference",
    "shapley_values",
    "shapley_weight",
    "spread",
]

Floats = NDArray[np.floating[Any]]
Coalition = frozenset[str]
"""The players that take part; here the modalities that a model is given."""


def coalitions(players: Sequence[str]) -> Iterator[Coalition]:
    """All ``2^M`` of them, from the empty one to all players.

    Example:
        >>> [sorted(one) for one in coalitions(["a", "b"])]
        [[], ['a'], ['b'], ['a', 'b']]
    """
    return (frozenset(one) for size in range(len(players) + 1) for one in combinations(players, size))


def shapley_weight(size: int, count: int) -> float:
    """Share of the orders of ``count`` players in which a player comes right behind ``size`` given others.

    Example:
        >>> shapley_weight(0, 2), shapley_weight(1, 3)
        (0.5, 0.16666666666666666)
    """
    return 1 / (count * math.comb(count - 1, size))


def shapley_values(table: Mapping[Coalition, Floats]) -> dict[str, Floats]:
    """What each player adds to what the others reach, averaged over all orders in which they may come.

    The values of all players sum to what all reach less what the empty coalition reaches.

    Args:
        table: What each coalition reaches, all ``2^M`` of them: numbers, or arrays of one shape such as a
            score per row or per resample.

    Raises:
        DataError: a coalition is missing.

    Example:
        >>> reached = {(): 0.5, ("text",): 0.8, ("image",): 0.6, ("image", "text"): 0.9}
        >>> table = {frozenset(names): np.array(score) for names, score in reached.items()}
        >>> {name: round(float(value), 3) for name, value in shapley_values(table).items()}
        {'image': 0.1, 'text': 0.3}
    """
    players = sorted(frozenset().union(*table))
    if missing := [one for one in coalitions(players) if one not in table]:
        raise DataError(
            f"table must hold all {2 ** len(players)} coalitions of {players}, got {len(table)} without "
            f"{sorted(missing[0])}."
        )
    values: dict[str, Floats] = {}
    for player in players:
        others = [name for name in players if name != player]
        values[player] = sum(
            (
                shapley_weight(len(one), len(players)) * (np.asarray(table[one | {player}]) - table[one])
                for one in coalitions(others)
            ),
            start=np.zeros(()),
        )
    return values


def drawn_orders(players: Sequence[str], count: int, generator: np.random.Generator) -> list[tuple[str, ...]]:
    """Orders of the players drawn at random, each followed by its reverse, which makes estimates steadier.

    Args:
        players: Their names.
        count: Orders, rounded up to an even number.
        generator: Draws them.

    Example:
        >>> orders = drawn_orders("abc", 4, np.random.default_rng(0))
        >>> len(orders), orders[1] == orders[0][::-1]
        (4, True)
    """
    orders = []
    for _ in range(-(-count // 2)):
        order = tuple(players[place] for place in generator.permutation(len(players)))
        orders += [order, order[::-1]]
    return orders


def marginal_gains(order: Sequence[str], reach: Callable[[Coalition], Floats]) -> dict[str, Floats]:
    """What each player adds on joining those before it; over drawn orders, the mean is its Shapley value.

    Args:
        order: All players.
        reach: What a coalition reaches.

    Example:
        >>> marginal_gains(["a", "b"], lambda coalition: np.array(len(coalition) ** 2.0))
        {'a': np.float64(1.0), 'b': np.float64(3.0)}
    """
    reached = [reach(frozenset(order[:place])) for place in range(len(order) + 1)]
    return {player: reached[place + 1] - reached[place] for place, player in enumerate(order)}


def spread(values: Mapping[str, Floats]) -> Floats:
    """The largest less the smallest of the players' values: 0 where all contribute alike.

    Example:
        >>> float(spread({"a": np.array(0.25), "b": np.array(0.75), "c": np.array(0.5)}))
        0.5
    """
    stacked = np.stack(list(values.values()))
    found: Floats = stacked.max(0) - stacked.min(0)
    return found


def mean_difference(values: Mapping[str, Floats]) -> Floats:
    """Mean absolute difference of the values of two players, over all pairs; 0 for a single player.

    Example:
        >>> float(mean_difference({"a": np.array(0.0), "b": np.array(0.75), "c": np.array(0.75)}))
        0.5
    """
    stacked = np.stack(list(values.values()))
    gaps = [np.abs(one - other) for one, other in combinations(stacked, 2)]
    found: Floats = np.mean(gaps, axis=0) if gaps else np.zeros(stacked.shape[1:])
    return found
