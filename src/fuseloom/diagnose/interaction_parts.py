"""How many modalities act together in a model: one at a time, in pairs, in threes, and so on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.diagnose.crossed import Crossed, Places
from fuseloom.diagnose.resampling import known_target, resampled_scores
from fuseloom.diagnose.split import Outputs, Split
from fuseloom.errors import DataError
from fuseloom.metrics.interaction_orders import interaction_orders
from fuseloom.metrics.interval import Interval
from fuseloom.tasks import Metric
from fuseloom.types import Batch

__all__ = ["InteractionOrder", "InteractionParts", "interaction_parts"]

Floats = NDArray[np.floating[Any]]

_MOST_CELLS = 2**22
_FEWEST_ROWS = 8
_ROUND_OFF = 1e-6


@dataclass(frozen=True, kw_only=True)
class InteractionOrder:
    """What a model makes of so many modalities at a time, beside what it makes of fewer."""

    order: int
    """Number of modalities that act together."""
    energy: float
    """Share of the variance of the outputs over all combinations that is of this order; all orders together
    have 1, or 0 where the outputs never change."""
    score: Interval
    """Score of the model with this order and lower ones only, in the units of the metric."""
    gain: Interval
    """What this order adds to the score, in the units of the metric, positive where it gets better. Of order
    1 it is against the mean output."""


@dataclass(frozen=True, kw_only=True)
class InteractionParts:
    """A model's outputs by how many modalities act together; intervals are by the paired bootstrap."""

    model: str
    metric: str
    modalities: tuple[str, ...]
    rows: int
    """Rows of which all combinations were computed."""
    of_rows: int
    """Rows given, of which those were drawn."""
    orders: tuple[InteractionOrder, ...]
    """From single modalities (UC) over pairs (BI) and triples (TI) to all modalities together."""
    combinations: int
    """Combinations of modalities of which outputs were computed."""


def interaction_parts(
    outputs: Outputs | Split,
    rows: Batch,
    *,
    predict: Callable[[Floats], Floats],
    model: str,
    metric: tuple[str, Metric],
    seed: int = 0,
) -> InteractionParts:
    """Split a model's outputs into what single modalities, pairs, triples and more contribute.

    All combinations of the modalities are computed, ``N ** M`` for ``N`` rows: of so many rows, drawn at
    random, that their outputs are at most four million numbers (161 rows of three modalities and one output,
    45 of four). The first part is the additive projection of `fuseloom.diagnose.emap.emap`.

    Paper: Wörtwein et al., Findings of EMNLP 2022, for three modalities (UC, BI and TI).

    Args:
        outputs: Rows to raw outputs, or a model in two parts (see `fuseloom.diagnose.split.split`).
        rows: Held-out rows with their target.
        predict: Raw outputs ``[N, K]`` to predictions as the metric takes them, such as `Task.predict`.
        model: Name for the result.
        metric: Name and metric.
        seed: Of the rows and of the bootstrap.

    Raises:
        DataError: rows without a target, too many modalities, or outputs that are not finite or of one row
            alone.
        ModalityError: fewer than two modalities.

    Example:
        >>> from fuseloom.tasks.regression import Regression
        >>> signs = torch.tensor([[a, b, c] for a in (-1.0, 1.0) for b in (-1.0, 1.0) for c in (-1.0, 1.0)])
        >>> rows = Batch(inputs=dict(zip("abc", signs.T, strict=True)), target=signs.prod(1) + signs[:, 0])
        >>> found = interaction_parts(
        ...     lambda rows: rows.inputs["a"] * rows.inputs["b"] * rows.inputs["c"] + rows.inputs["a"],
        ...     rows,
        ...     predict=lambda outputs: outputs[:, 0],
        ...     model="both",
        ...     metric=("r2", Regression.metrics["r2"]),
        ... )
        >>> [(one.order, one.energy, one.score.mean) for one in found.orders]
        [(1, 0.5, 0.5), (2, 0.0, 0.5), (3, 0.5, 1.0)]
    """
    known_target(rows)
    parts = outputs if isinstance(outputs, Split) else Split(together=outputs)
    taken = _drawn(parts, rows, seed)
    crossed = Crossed(parts, taken)
    table, orders = _orders(crossed)
    steps = [np.broadcast_to(table.mean(0), crossed.own.shape), *np.cumsum([_own(one) for one in orders], 0)]
    scores = _scores([predict(step) for step in steps], known_target(taken), metric[1], seed=seed)
    shares = _shares(orders, table)
    return InteractionParts(
        model=model,
        metric=metric[0],
        modalities=crossed.names,
        rows=len(crossed),
        of_rows=len(rows),
        orders=tuple(
            InteractionOrder(order=place, energy=share, score=score, gain=gain)
            for place, (share, (score, gain)) in enumerate(zip(shares, scores, strict=True), start=1)
        ),
        combinations=crossed.num_computed,
    )


def _drawn(parts: Split, rows: Batch, seed: int) -> Batch:
    """As many rows as the limit admits."""
    num = len(rows.inputs)
    width = Crossed(parts, rows.take(slice(0, 1))).own.shape[1]
    most = int((_MOST_CELLS / width) ** (1 / num) + 1e-9)
    if most < min(_FEWEST_ROWS, len(rows)):
        raise DataError(
            f"rows must have few enough modalities that all combinations of {_FEWEST_ROWS} rows can be "
            f"computed, got {num}. Use emap, which draws some of them."
        )
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:most]
    return rows if len(rows) <= most else rows.take(order.to(rows.device))


def _orders(crossed: Crossed) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Outputs ``[N ** M, K]`` of all combinations, and the parts ``[N, ..., N, K]`` of their table."""
    count, num = len(crossed), len(crossed.names)

    def places(cells: Tensor) -> Places:
        return {name: cells // count ** (num - 1 - axis) % count for axis, name in enumerate(crossed.names)}

    flat = torch.cat([outputs for _, outputs in crossed.blocks(count**num, places)]).numpy()
    return flat, interaction_orders(flat.reshape(*[count] * num, -1), num)


def _own(part: NDArray[np.float64]) -> NDArray[np.float64]:
    """The true rows ``[N, K]`` of a table ``[N, ..., N, K]``."""
    itself = np.arange(len(part))
    found: NDArray[np.float64] = part[(itself,) * (part.ndim - 1)]
    return found


def _scores(
    guesses: list[Floats], target: NDArray[Any], metric: Metric, *, seed: int
) -> list[tuple[Interval, Interval]]:
    """Score of each guess but the first, and what it is better by than the one before."""
    sign = metric.better(1.0)
    reached = [metric.function(guess, target) for guess in guesses]
    drawn = resampled_scores(guesses, target, metric, seed=seed)
    found = []
    for place in range(1, len(guesses)):
        gain = sign * (reached[place] - reached[place - 1])
        score = Interval.from_resamples(reached[place], sign * drawn[place])
        found.append((score, Interval.from_resamples(gain, drawn[place] - drawn[place - 1])))
    return found


def _shares(orders: list[NDArray[np.float64]], table: NDArray[np.float64]) -> list[float]:
    """Share of the variance of each order; orders are orthogonal, so that they add up."""
    axes = tuple(range(orders[0].ndim - 1))
    variances = [float(part.var(axes).sum()) for part in orders]
    whole = sum(variances)
    constant = whole <= (_ROUND_OFF * float(np.abs(table).max())) ** 2
    return [0.0 if constant else variance / whole for variance in variances]
