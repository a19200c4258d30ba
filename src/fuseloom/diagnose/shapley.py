"""What each modality is worth to a model: the Shapley values of its score over all coalitions of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.diagnose.reliance import hide
from fuseloom.diagnose.resampling import interval_of, known_target, scored
from fuseloom.errors import OptionError
from fuseloom.metrics.interval import Interval
from fuseloom.metrics.shapley import (
    Coalition,
    coalitions,
    drawn_orders,
    marginal_gains,
    mean_difference,
    shapley_values,
    spread,
)
from fuseloom.tasks import Metric
from fuseloom.types import Batch

__all__ = ["Shapley", "sample_shapley_values", "shapley"]

Floats = NDArray[np.floating[Any]]

_MOST_FOR_ALL = 10


@dataclass(frozen=True, kw_only=True)
class Shapley:
    """How the score of one model on held-out rows is shared among its modalities.

    Values are in the units of the metric, positive where a modality makes the score better; together they are
    what all modalities reach less what the model reaches without any.
    """

    model: str
    metric: str
    score: Interval
    """With all modalities."""
    empty: Interval
    """With none: every modality masked."""
    values: dict[str, Interval]
    """Modality -> Shapley value; the interval is over rows, and over orders where these are drawn."""
    standard_errors: dict[str, float]
    """Modality -> how far drawn orders may have led the value astray; empty where all coalitions were
    scored."""
    spread: Interval
    """Imbalance: the largest less the smallest value."""
    mean_difference: Interval
    """Imbalance: mean absolute difference over all pairs of modalities."""
    coalitions: int
    """How many were scored."""


def shapley(
    predict: Callable[[Batch], Floats],
    rows: Batch,
    *,
    model: str,
    metric: tuple[str, Metric],
    num_orders: int = 100,
    resamples: int = 2000,
    seed: int = 0,
) -> Shapley:
    """Share the score of a model among its modalities; a modality that is not given is masked in every row.

    Up to ten modalities all ``2^M`` coalitions are scored. Of more, ``num_orders`` orders in which they may
    join are drawn, every second one the reverse of that before, and standard errors say what that costs.

    Args:
        predict: Rows to predictions as the metric takes them, also for rows without any modality; changes
            nothing.
        rows: Held-out rows with their target.
        model: Name for the result.
        metric: Name and metric.
        num_orders: Orders drawn where there are more than ten modalities, rounded up to an even number.
        resamples: Of the bootstrap over rows.
        seed: Of orders and bootstrap.

    Raises:
        DataError: the rows have no target.
        OptionError: fewer than two pairs of orders.
    """
    if num_orders < 3:
        raise OptionError(f"num_orders must be at least 3, two pairs, got {num_orders}.")
    name, score = metric
    players = tuple(rows.inputs)
    every = len(players) <= _MOST_FOR_ALL
    orders = [] if every else drawn_orders(players, num_orders, np.random.default_rng(seed))
    wanted = list(coalitions(players)) if every else _prefixes(orders)
    guesses = (predict(_given(rows, one)) for one in wanted)
    reached = scored(guesses, known_target(rows), score, resamples=resamples, seed=seed)
    table: dict[Coalition, Floats] = dict(zip(wanted, reached, strict=True))
    values, errors = (shapley_values(table), {}) if every else _sampled(table, orders, seed)
    return Shapley(
        model=model,
        metric=name,
        score=interval_of(score.better(1.0) * table[frozenset(players)]),
        empty=interval_of(score.better(1.0) * table[frozenset()]),
        values={modality: interval_of(values[modality]) for modality in players},
        standard_errors=errors,
        spread=interval_of(spread(values)),
        mean_difference=interval_of(mean_difference(values)),
        coalitions=len(table),
    )


def sample_shapley_values(
    predict: Callable[[Batch], Floats],
    rows: Batch,
    *,
    worth: Callable[[Floats, NDArray[Any]], Floats],
) -> dict[str, Floats]:
    """Shapley values ``[N]`` of each modality for each row; their means are those of the mean worth.

    Args:
        predict: Rows to predictions, also for rows without any modality; changes nothing.
        rows: Rows with their target.
        worth: Predictions and target to a number per row ``[N]``, higher is better: 1 where the prediction is
            right, else 0; or less the loss.

    Raises:
        DataError: the rows have no target.
        OptionError: more than ten modalities.
    """
    if len(rows.inputs) > _MOST_FOR_ALL:
        raise OptionError(
            f"rows must have at most {_MOST_FOR_ALL} modalities for values of each row, got "
            f"{len(rows.inputs)}. Use shapley, which draws orders."
        )
    target = known_target(rows)
    table = {one: worth(predict(_given(rows, one)), target) for one in coalitions(tuple(rows.inputs))}
    return shapley_values(table)


def _prefixes(orders: Sequence[tuple[str, ...]]) -> list[Coalition]:
    """The coalitions that come about while players join in these orders, each once."""
    every = (frozenset(order[:place]) for order in orders for place in range(len(order) + 1))
    return list(dict.fromkeys(every))


def _sampled(
    table: Mapping[Coalition, Floats], orders: Sequence[tuple[str, ...]], seed: int
) -> tuple[dict[str, Floats], dict[str, float]]:
    """Values ``[1 + R]`` from drawn orders, with the standard errors of the first."""
    gains = [marginal_gains(order, table.__getitem__) for order in orders]
    pairs, draws = len(orders) // 2, len(table[frozenset()]) - 1
    # An order and its reverse depend on each other, so pairs are what is independent, and what is resampled.
    generator = np.random.default_rng(seed)
    shares = generator.multinomial(pairs, np.full(pairs, 1 / pairs), size=draws) / pairs
    values: dict[str, Floats] = {}
    errors: dict[str, float] = {}
    for player in orders[0]:
        each = np.stack([one[player] for one in gains]).reshape(pairs, 2, -1).mean(1)  # [P, 1 + R]
        drawn = np.einsum("rp,pr->r", shares, each[:, 1:])
        values[player] = np.append(each[:, 0].mean(), drawn)
        errors[player] = float(each[:, 0].std(ddof=1) / pairs**0.5)
    return values, errors


def _given(rows: Batch, coalition: Coalition) -> Batch:
    for modality in rows.inputs:
        if modality not in coalition:
            rows = hide(rows, modality)
    return rows
