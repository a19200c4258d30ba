"""Concatenation followed by one linear map: early fusion."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.merge._base import Merge, Pool, pool_streams
from fuseloom.nn import masked_mean, sum_of_linears
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["Concat", "convert_concat"]


@register("concat")
class Concat(Merge):
    r"""Linear map of the concatenation of all modalities.

    .. math:: z = W [x_1; \dots; x_M] + b = \sum_m W_m x_m + b

    Computed by the right-hand side: each ``W_m`` is a parameter of its own, so adding a modality keeps the
    others' weights, and nothing is concatenated. An absent modality contributes zeros.

    Args:
        dims: Modality name -> width ``D_m``.
        dim: Width of the fused value.
        pool: Makes tokens and feature maps one vector; ``None`` fuses position by position, which needs the
            same positions in all streams.

    Example:
        >>> merge = Concat({"text": 6, "audio": 4}, dim=8)
        >>> merge({"text": torch.ones(2, 6), "audio": torch.ones(2, 5, 4)}).shape
        torch.Size([2, 8])
    """

    card = Card(
        summary="Linear map of the concatenated modalities (early fusion).",
        interaction="additive",
        cost="sum_m N_m D_m + K sum_m D_m",
        parameters="per modality",
    )

    def __init__(
        self, dims: Mapping[str, int], dim: int | None = None, *, pool: Pool | None = masked_mean
    ) -> None:
        super().__init__(dims, dim)
        self.pool = pool
        # The bound of one nn.Linear over the concatenation.
        bound = 1 / math.sqrt(sum(self.dims.values()))
        self.weight = nn.ParameterDict(
            {name: torch.empty(self.dim, width).uniform_(-bound, bound) for name, width in self.dims.items()}
        )
        self.bias = nn.Parameter(torch.empty(self.dim).uniform_(-bound, bound))

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        values, _ = pool_streams(streams, masks, self.pool)
        return sum_of_linears(values, [self.weight[name] for name in self.dims], self.bias)


def convert_concat(weight: Tensor, bias: Tensor, dims: Mapping[str, int]) -> dict[str, Tensor]:
    """State dict of `Concat` from one linear map over the concatenation of all modalities.

    Args:
        weight: ``[dim, sum of D_m]``, as in ``nn.Linear``.
        bias: ``[dim]``.
        dims: Modality name -> width ``D_m``, in the order of the concatenation.

    Returns:
        What ``Concat(dims, dim).load_state_dict`` takes.

    Raises:
        OptionError: the columns of ``weight`` are not those of ``dims``.
    """
    total = sum(dims.values())
    if weight.dim() != 2 or weight.shape[1] != total:
        raise OptionError(
            f"weight must have shape [dim, {total}], the sum of dims, got {list(weight.shape)}."
        )
    parts = torch.split(weight, list(dims.values()), dim=1)
    named = zip(dims, parts, strict=True)
    return {"bias": bias} | {f"weight.{name}": part.contiguous() for name, part in named}
