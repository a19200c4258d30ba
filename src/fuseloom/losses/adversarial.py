"""Losses of translation: a network that judges pictures, and one that makes them."""

from collections.abc import Mapping
from functools import reduce
from operator import add

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["adversarial_loss", "judgement_loss", "likeness_loss"]


def judgement_loss(real: Mapping[str, Tensor], made: Mapping[str, Tensor]) -> Tensor:
    """What a discriminator learns from: the mean surprise by real pictures and by made ones, over streams.

    Args:
        real: Modality name -> logits of real pictures, of any shape.
        made: Likewise of pictures that were made.

    Returns:
        The sum over streams of half the binary cross-entropies of both, in nats.

    Example:
        >>> judgement_loss({"depth": torch.zeros(3)}, {"depth": torch.zeros(3)})
        tensor(0.6931)
    """
    return reduce(add, (_surprise(own, 1.0) + _surprise(made[name], 0.0) for name, own in real.items())) / 2


def adversarial_loss(made: Mapping[str, Tensor]) -> Tensor:
    """What a generator learns from its judge: the surprise of made pictures if they were real, over streams.

    Args:
        made: Modality name -> logits of pictures that were made.

    Example:
        >>> adversarial_loss({"depth": torch.zeros(3), "edges": torch.zeros(3)})
        tensor(1.3863)
    """
    return reduce(add, (_surprise(own, 1.0) for own in made.values()))


def likeness_loss(made: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of each made picture to the real one, added up over those who made it.

    Args:
        made: ``[B, M + 1, C, H, W]``: of each stream, and of their ensemble.
        target: ``[B, C, H, W]``.

    Example:
        >>> likeness_loss(torch.ones(2, 3, 1, 4, 4), torch.zeros(2, 1, 4, 4))
        tensor(3.)
    """
    return (made - target[:, None]).abs().mean((0, 2, 3, 4)).sum()


def _surprise(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
