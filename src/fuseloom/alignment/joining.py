"""Alignments made of alignments."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fuseloom.errors import DataError
from fuseloom.types import Alignment

__all__ = ["chain", "flatten_choices"]


def chain(first: Alignment, second: Alignment) -> Alignment:
    """From the sources of one alignment to the targets of another that begins where the first one ends.

    A pair for each way through, its weight the product of both: text tokens, aligned with objects by spans,
    and objects, aligned with patches by boxes, give text tokens aligned with patches.

    Raises:
        DataError: another number of samples.

    Example:
        >>> words = Alignment.from_pairs([[(4, 0)]])
        >>> pairs = chain(words, Alignment.from_pairs([[(0, 7, 0.5), (1, 8, 1.0)]]))
        >>> pairs.source_index, pairs.target_index, pairs.weight
        (tensor([[4]]), tensor([[7]]), tensor([[0.5000]]))
    """
    if first.weight.shape[0] != second.weight.shape[0]:
        counts = first.weight.shape[0], second.weight.shape[0]
        raise DataError(f"Chained alignments must have as many samples, got {counts[0]} and {counts[1]}.")
    meet = first.target_index[:, :, None] == second.source_index[:, None]  # [B, P1, P2]
    real = (meet & first.real[:, :, None] & second.real[:, None]).flatten(1)
    return _compact(
        real,
        first.source_index[:, :, None].expand_as(meet).flatten(1),
        second.target_index[:, None].expand_as(meet).flatten(1),
        (first.weight[:, :, None] * second.weight[:, None]).flatten(1),
    )


def _compact(real: Tensor, source: Tensor, target: Tensor, weight: Tensor) -> Alignment:
    """Real pairs first, in their order, and no more holes than the longest sample needs."""
    width = int(real.sum(1).max()) if real.numel() else 0
    order = real.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :width]
    kept = real.gather(1, order)
    return Alignment(
        source_index=source.gather(1, order).masked_fill(~kept, -1),
        target_index=target.gather(1, order).masked_fill(~kept, -1),
        weight=weight.gather(1, order).masked_fill(~kept, 0),
    )


def flatten_choices(choices: Sequence[Alignment]) -> Alignment:
    """Alignments of ``C`` choices of ``Q`` questions as one of ``Q * C`` rows, the choices of each together.

    That is the order of streams ``[Q, C, ...]`` after ``flatten(0, 1)``.

    Args:
        choices: One alignment of ``Q`` samples per choice.

    Raises:
        DataError: no choice, or another number of questions in one of them.

    Example:
        >>> first, second = Alignment.from_pairs([[(0, 0)], [(1, 1)]]), Alignment.from_pairs([[(2, 2)], []])
        >>> flatten_choices([first, second]).source_index
        tensor([[ 0],
                [ 2],
                [ 1],
                [-1]])
    """
    counts = sorted({choice.weight.shape[0] for choice in choices})
    if len(counts) != 1:
        raise DataError(f"choices must be of one number of questions, got {counts}.")
    width = max(choice.weight.shape[1] for choice in choices)
    padded = [choice.pad(width) for choice in choices]
    source, target, weight = (
        torch.stack([getattr(choice, name) for choice in padded], 1).flatten(0, 1)
        for name in ("source_index", "target_index", "weight")
    )
    return Alignment(source_index=source, target_index=target, weight=weight)
