"""How the learning rate rises and falls over the steps of a run."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

__all__ = ["FallFrom", "Schedule", "rate_share", "scheduled"]

Schedule = Literal["constant", "cosine", "linear", "poly"]
"""What the learning rate does after the warm-up: it stays, or falls to zero along half a wave, a line or a
power of what is left of the run."""
FallFrom = Literal["peak", "start"]
"""Where a fall is counted from: the end of the warm-up, or the first step, so that the warm-up takes a part
of the fall away."""

_FALLS: Mapping[str, Callable[[float, float], float]] = {
    "constant": lambda past, power: 1.0,
    "cosine": lambda past, power: (1 + math.cos(math.pi * past)) / 2,
    "linear": lambda past, power: 1 - past,
    "poly": lambda past, power: (1 - past) ** power,
}


def rate_share(
    step: int,
    *,
    steps: int,
    schedule: Schedule = "constant",
    warmup: float = 0.0,
    warmup_from: float | None = None,
    power: float = 0.9,
    fall_from: FallFrom = "peak",
) -> float:
    """The learning rate of a step, counted from 0, as a share of its peak.

    Args:
        step: Which one.
        steps: How many are planned; a falling rate would reach zero with the step behind the last. ``poly``
            keeps the rate of the last step from there on.
        schedule: What the rate does after the warm-up.
        warmup: Share of the steps over which the rate rises evenly to its peak.
        warmup_from: Share of the peak that the first of them has, where the first behind them is to be the
            first at the peak; by default the rate rises from zero before the run, and the last of them has
            the peak.
        power: Of ``poly``.
        fall_from: Where the fall is counted from.

    Example:
        >>> [rate_share(step, steps=4, schedule="linear", warmup=0.5) for step in range(4)]
        [0.5, 1.0, 1.0, 0.5]
        >>> options = {"schedule": "poly", "warmup": 0.5, "warmup_from": 0.5, "fall_from": "start"}
        >>> [rate_share(step, steps=4, power=1, **options) for step in range(6)]
        [0.5, 0.75, 0.5, 0.25, 0.25, 0.25]
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising if warmup_from is None else _between(warmup_from, step / rising)
    if schedule == "poly":
        step = min(step, steps - 1)
    start = rising if fall_from == "peak" else 0
    return _FALLS[schedule](min((step - start) / max(steps - start, 1), 1.0), power)


def _between(lowest: float, part: float) -> float:
    return 1 - (1 - part) * (1 - lowest)


def scheduled(  # noqa: PLR0913  one option per choice
    optimizer: Optimizer,
    *,
    steps: int,
    schedule: Schedule = "constant",
    warmup: float = 0.0,
    warmup_from: float | None = None,
    power: float = 0.9,
    fall_from: FallFrom = "peak",
    done: int = 0,
) -> LambdaLR:
    """The schedule of a new optimiser; it steps once behind each step of the optimiser.

    Args:
        optimizer: Its learning rate is the peak.
        steps: As for `rate_share`, like what follows.
        schedule: What the rate does after the warm-up.
        warmup: Share of the steps over which it rises.
        warmup_from: Where it rises from.
        power: Of ``poly``.
        fall_from: Where the fall is counted from.
        done: Steps that were taken before.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
        >>> scheduled(optimizer, steps=4, schedule="linear", done=2).get_last_lr()
        [0.25]
    """
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]  # torch wants it told where steps were taken before
    share = partial(
        rate_share,
        steps=steps,
        schedule=schedule,
        warmup=warmup,
        warmup_from=warmup_from,
        power=power,
        fall_from=fall_from,
    )
    return LambdaLR(optimizer, share, last_epoch=done - 1)
