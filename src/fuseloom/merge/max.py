"""Element-wise maximum of one embedding per modality."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fuseloom.merge._base import Merge, Pool, pool_streams
from fuseloom.nn import linear_each, masked_max, masked_mean, stack_masks
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["Max"]


@register("max")
class Max(Merge):
    r"""Largest value of each feature over a linear embedding of each modality that is there.

    .. math:: z_d = \max_{m \in P} \, (W_m x_m + b_m)_d, \quad P = \{m : x_m \text{ is present}\}

    An absent modality does not compete; a sample without any gives zeros. Which modality wins depends on all
    of them, so the fusion is not additive: ``max(a, b) = (a + b + |a - b|) / 2``. The embeddings start with
    variance one for standardised inputs.

    Args:
        dims: Modality name -> width ``D_m``.
        dim: Width of the fused value.
        pool: Makes tokens and feature maps one vector; ``None`` fuses position by position, which needs the
            same positions in all streams.

    Example:
        >>> merge = Max({"text": 6, "audio": 4}, dim=8)
        >>> streams = {"text": torch.ones(1, 6), "audio": torch.ones(1, 4)}
        >>> alone = merge(streams, {"audio": torch.tensor([False])})
        >>> bool((merge(streams) >= alone).all())
        True
    """

    card = Card(
        summary="Element-wise maximum over a linear embedding of each present modality.",
        interaction="nonlinear",
        cost="sum_m N_m D_m + K sum_m D_m",
        parameters="per modality",
        symmetric=True,
    )

    def __init__(
        self, dims: Mapping[str, int], dim: int | None = None, *, pool: Pool | None = masked_mean
    ) -> None:
        super().__init__(dims, dim)
        self.pool = pool
        self.embed = linear_each(self.dims, self.dim)

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        values, present = pool_streams(streams, masks, self.pool)
        embedded = [self.embed[name](value) for name, value in zip(self.dims, values, strict=True)]
        return masked_max(torch.stack(embedded, -2), stack_masks(present))
