"""Sum of one embedding per modality: additive fusion."""

from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.merge._base import Merge, Pool, pool_streams
from fuseloom.nn import masked_mean
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["Sum"]


@register("sum")
class Sum(Merge):
    r"""Sum of a linear embedding of each modality that is there.

    .. math:: z = \sum_{m \text{ present}} (W_m x_m + b_m)

    An absent modality adds nothing, its bias included; a sample without any gives zeros.

    Args:
        dims: Modality name -> width ``D_m``.
        dim: Width of the fused value.
        pool: Makes tokens and feature maps one vector; ``None`` fuses position by position, which needs the
            same positions in all streams.

    Example:
        >>> merge = Sum({"text": 6, "audio": 4}, dim=8)
        >>> absent = {"text": torch.tensor([False]), "audio": torch.tensor([False])}
        >>> merge({"text": torch.ones(1, 6), "audio": torch.ones(1, 4)}, absent).abs().sum().item()
        0.0
    """

    card = Card(
        summary="Sum of a linear embedding of each present modality.",
        interaction="additive",
        cost="sum_m N_m D_m + K sum_m D_m",
        parameters="per modality",
    )

    def __init__(
        self, dims: Mapping[str, int], dim: int | None = None, *, pool: Pool | None = masked_mean
    ) -> None:
        super().__init__(dims, dim)
        self.pool = pool
        self.embed = nn.ModuleDict({name: nn.Linear(width, self.dim) for name, width in self.dims.items()})

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        values, present = pool_streams(streams, masks, self.pool)
        embedded = [self.embed[name](value) for name, value in zip(self.dims, values, strict=True)]
        return reduce(add, map(_keep, embedded, present))


def _keep(value: Tensor, present: Tensor | None) -> Tensor:
    return value if present is None else torch.where(present[..., None], value, 0)
