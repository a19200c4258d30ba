"""Sum of one embedding per modality under learned weights that add up to one: additive fusion."""

import math
from collections.abc import Mapping
from functools import reduce
from operator import add, mul
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.merge._base import Merge, Pool, pool_streams
from fuseloom.nn import linear_each, masked_mean, masked_softmax, stack_masks
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["WeightPer", "WeightedSum"]

WeightPer = Literal["modality", "feature"]


@register("weighted_sum")
class WeightedSum(Merge):
    r"""Sum of a linear embedding of each modality that is there, under learned weights of sum one.

    .. math:: z = \sum_{m \in P} a_m \odot (W_m x_m + b_m), \quad
        a_m = \frac{\exp s_m}{\sum_{n \in P} \exp s_n}, \quad P = \{m : x_m \text{ is present}\}

    The scores ``s_m`` are parameters, the same for all samples. The weight of an absent modality goes to
    those that are there, in proportion to theirs; a sample without any gives zeros. The weights start equal
    and the embeddings with variance ``M``, so that the fused value has variance one for standardised inputs.
    The trace records the weights as ``weights``, ``[..., M]`` or ``[..., dim, M]``.

    Args:
        dims: Modality name -> width ``D_m``.
        dim: Width of the fused value.
        weight_per: ``modality``: one weight for each; ``feature``: one for each feature of each modality.
        pool: Makes tokens and feature maps one vector; ``None`` fuses position by position, which needs the
            same positions in all streams.

    Raises:
        OptionError: ``weight_per`` is neither.

    Example:
        >>> merge = WeightedSum({"text": 6, "audio": 4}, dim=8)
        >>> trace = Trace()
        >>> streams = {"text": torch.ones(2, 6), "audio": torch.ones(2, 4)}
        >>> fused = merge(streams, {"audio": torch.tensor([True, False])}, trace=trace)
        >>> trace.records["weights"]
        tensor([[0.5000, 0.5000],
                [1.0000, 0.0000]])
    """

    card = Card(
        summary="Sum of a linear embedding of each modality under learned weights of sum one.",
        interaction="additive",
        cost="sum_m N_m D_m + K sum_m D_m + K M",
        parameters="per modality",
        symmetric=True,
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        dim: int | None = None,
        *,
        weight_per: WeightPer = "modality",
        pool: Pool | None = masked_mean,
    ) -> None:
        super().__init__(dims, dim)
        if weight_per not in get_args(WeightPer):
            raise OptionError(f"weight_per must be 'feature' or 'modality', got {weight_per!r}.")
        self.pool = pool
        self.embed = linear_each(self.dims, self.dim, gain=math.sqrt(len(self.dims)))
        shape = (self.dim,) if weight_per == "feature" else (1,)
        self.score = nn.ParameterDict({name: torch.zeros(shape) for name in self.dims})

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        values, present = pool_streams(streams, masks, self.pool)
        weights = self._weights(present)
        if trace is not None:
            trace.record("weights", weights.squeeze(-2))
        embedded = [self.embed[name](value) for name, value in zip(self.dims, values, strict=True)]
        shares = weights.to(embedded[0].dtype).unbind(-1)
        fused: Tensor = reduce(add, map(mul, shares, embedded))
        return fused

    def _weights(self, present: list[Tensor | None]) -> Tensor:
        scores = torch.stack([self.score[name] for name in self.dims], -1)  # [dim or 1, M]
        kept = stack_masks(present)
        if kept is None:
            return masked_softmax(scores)
        return masked_softmax(scores.expand(*kept.shape[:-1], *scores.shape), kept[..., None, :])
