"""How the learning rate rises and falls over the steps of a run."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

__all__ = ["Schedule", "rate_share", "scheduled"]

Schedule = Literal["constant", "cosine", "linear"]
"""What the learning rate does after the warm-up: it stays, or falls to zero along half a wave or a line."""

_FALLS: Mapping[str, Callable[[float], float]] = {
    "constant": lambda past: 1.0,
    "cosine": lambda past: (1 + math.cos(math.pi * past)) / 2,
    "linear": lambda past: 1 - past,
}


def rate_share(step: int, *, steps: int, schedule: Schedule = "constant", warmup: float = 0.0) -> float:
    """The learning rate of a step, counted from 0, as a share of its peak.

    Args:
        step: Which one.
        steps: How many are planned; a falling rate would reach zero with the step behind the last.
        schedule: What the rate does after the warm-up.
        warmup: Share of the steps over which the rate rises evenly to its peak.

    Example:
        >>> [rate_share(step, steps=4, schedule="linear", warmup=0.5) for step in range(4)]
        [0.5, 1.0, 1.0, 0.5]
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return _FALLS[schedule](min((step - rising) / max(steps - rising, 1), 1.0))


def scheduled(
    optimizer: Optimizer, *, steps: int, schedule: Schedule = "constant", warmup: float = 0.0, done: int = 0
) -> LambdaLR:
    """The schedule of a new optimiser; it steps once behind each step of the optimiser.

    Args:
        optimizer: Its learning rate is the peak.
        steps: As for `rate_share`, like what follows.
        schedule: What the rate does after the warm-up.
        warmup: Share of the steps over which it rises.
        done: Steps that were taken before.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
        >>> scheduled(optimizer, steps=4, schedule="linear", done=2).get_last_lr()
        [0.25]
    """
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]  # torch wants it told where steps were taken before
    share = partial(rate_share, steps=steps, schedule=schedule, warmup=warmup)
    return LambdaLR(optimizer, share, last_epoch=done - 1)
