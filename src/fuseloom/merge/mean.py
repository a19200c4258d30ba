"""Mean of one embedding per modality: additive fusion whose size does not depend on how many are there."""

import math
from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from fuseloom.merge._base import Merge, Pool, pool_streams
from fuseloom.nn import linear_each, masked_mean, stack_masks
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["Mean"]


@register("mean")
class Mean(Merge):
    r"""Mean of a linear embedding of each modality that is there.

    .. math:: z = \frac{1}{|P|} \sum_{m \in P} (W_m x_m + b_m), \quad P = \{m : x_m \text{ is present}\}

    An absent modality does not count, neither above nor below the fraction bar; a sample without any gives
    zeros. The embeddings start with variance ``M``, so that the mean of all has variance one for standardised
    inputs.

    Args:
        dims: Modality name -> width ``D_m``.
        dim: Width of the fused value.
        pool: Makes tokens and feature maps one vector; ``None`` fuses position by position, which needs the
            same positions in all streams.

    Example:
        >>> merge = Mean({"text": 6, "audio": 4}, dim=8)
        >>> streams = {"text": torch.ones(1, 6), "audio": torch.ones(1, 4)}
        >>> alone = merge(streams, {"audio": torch.tensor([False])})
        >>> torch.allclose(alone, merge.embed["text"](streams["text"]))
        True
    """

    card = Card(
        summary="Mean of a linear embedding of each present modality.",
        interaction="additive",
        cost="sum_m N_m D_m + K sum_m D_m",
        parameters="per modality",
        symmetric=True,
    )

    def __init__(
        self, dims: Mapping[str, int], dim: int | None = None, *, pool: Pool | None = masked_mean
    ) -> None:
        super().__init__(dims, dim)
        self.pool = pool
        self.embed = linear_each(self.dims, self.dim, gain=math.sqrt(len(self.dims)))

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        values, present = pool_streams(streams, masks, self.pool)
        embedded = [self.embed[name](value) for name, value in zip(self.dims, values, strict=True)]
        total = reduce(add, map(_keep, embedded, present))
        kept = stack_masks(present)  # [..., M]
        if kept is None:
            return total / len(embedded)
        return total / kept.sum(-1, keepdim=True).clamp(min=1).to(total.dtype)


def _keep(value: Tensor, present: Tensor | None) -> Tensor:
    return value if present is None else torch.where(present[..., None], value, 0)
