"""Looking at a model without changing it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["observed"]


@contextmanager
def observed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; afterwards modes of all parts and torch's generators are as they were.

    Args:
        model: Any module.

    Example:
        >>> model = nn.Dropout(0.5).train()
        >>> with observed(model):
        ...     model(torch.ones(3))
        tensor([1., 1., 1.])
        >>> model.training
        True
    """
    modes = {part: part.training for part in model.modules()}
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        model.eval()
        try:
            yield
        finally:
            for part, training in modes.items():
                part.training = training
