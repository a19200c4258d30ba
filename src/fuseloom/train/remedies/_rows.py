"""Means over those rows of a batch that a term speaks of, such as those that have a modality."""

import torch
from torch import Tensor

from fuseloom.train.remedies._passage import Passage

__all__ = ["loss_over", "mean_over"]


def mean_over(values: Tensor, rows: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of ``[B]`` over the rows ``[B]`` that are True, weighted by ``weight`` ``[B]``; 0 where none is.

    Example:
        >>> mean_over(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False])).item()
        2.0
    """
    share = _exact(rows, values) if weight is None else weight * rows
    total = share.sum().clamp(min=torch.finfo(share.dtype).tiny)
    return (values.masked_fill(~rows, 0) * share).sum() / total


def loss_over(seen: Passage, outputs: Tensor, rows: Tensor) -> Tensor:
    """The task's loss of outputs ``[B, K]`` over the rows ``[B]`` that are True; 0 where none is."""
    weight = _exact(rows, outputs) if seen.weight is None else seen.weight * rows
    return seen.task.loss(outputs, seen.target, weight)


def _exact(rows: Tensor, like: Tensor) -> Tensor:
    """Ones and zeros that can be counted: in bfloat16 257 would be 256."""
    return rows.to(torch.promote_types(like.dtype, torch.float32))
