"""Element-wise product of one embedding per modality, then a linear map."""

import math
from collections.abc import Mapping
from functools import reduce
from operator import mul
from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.merge._base import Merge, Pool, pool_streams
from fuseloom.nn import linear_each, masked_mean
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["Product", "convert_product"]


@register("product")
class Product(Merge):
    r"""Linear map of the element-wise product of a linear embedding of each modality that is there.

    .. math:: z = V \prod_{m \text{ present}} (W_m x_m + b_m) + c

    An absent modality is a factor of one, so the product of the others remains; a sample without any gives
    the empty product, ones, and so a constant.

    Differs from the official code, which multiplies the inputs themselves and so needs equal widths (an
    embedding that is the identity, as from `convert_product`). The biases ``b_m`` start at one: the product
    then contains every modality alone as well, and its logarithm has variance about one for standardised
    inputs, however many modalities there are.

    Args:
        dims: Modality name -> width ``D_m``.
        dim: Width of the fused value.
        factor_dim: Width of the product; ``dim`` by default.
        pool: Makes tokens and feature maps one vector; ``None`` fuses position by position, which needs the
            same positions in all streams.

    Raises:
        OptionError: a ``factor_dim`` below one.

    Example:
        >>> merge = Product({"text": 6, "audio": 4}, dim=8, factor_dim=16)
        >>> merge({"text": torch.ones(2, 6), "audio": torch.ones(2, 4)}).shape
        torch.Size([2, 8])
    """

    card = Card(
        summary="Linear map of the element-wise product of one embedding per present modality.",
        interaction="multiplicative",
        cost="sum_m N_m D_m + K sum_m D_m + K^2",
        parameters="per modality, and one map of width K",
        symmetric=True,
        code="pliang279/PID",
        differs="Each modality has a linear embedding, so widths may differ; biases start at one.",
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        dim: int | None = None,
        *,
        factor_dim: int | None = None,
        pool: Pool | None = masked_mean,
    ) -> None:
        super().__init__(dims, dim)
        width = factor_dim if factor_dim is not None else self.dim
        if width < 1:
            raise OptionError(f"factor_dim must be at least 1, got {factor_dim}.")
        self.pool = pool
        num = len(self.dims)
        self.embed = linear_each(self.dims, width, gain=1 / math.sqrt(num), bias=1.0)
        self.out = nn.Linear(width, self.dim)
        # The square of a product of independent factors 1 + N(0, 1 / num) is (1 + 1 / num)^num on average.
        nn.init.normal_(self.out.weight, std=(1 + 1 / num) ** (-num / 2) / math.sqrt(width))
        nn.init.zeros_(self.out.bias)

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        values, present = pool_streams(streams, masks, self.pool)
        embedded = [self.embed[name](value) for name, value in zip(self.dims, values, strict=True)]
        fused: Tensor = self.out(reduce(mul, map(_factor, embedded, present)))
        return fused


def _factor(value: Tensor, present: Tensor | None) -> Tensor:
    return value if present is None else torch.where(present[..., None], value, 1)


def convert_product(weight: Tensor, bias: Tensor, dims: Mapping[str, int]) -> dict[str, Tensor]:
    """State dict of `Product` from the official layout, ``ElemMultWithLinear`` of the PID repository.

    Args:
        weight: ``[dim, D]`` of the linear map after the product.
        bias: ``[dim]``.
        dims: Modality name -> width, ``D`` each.

    Returns:
        What ``Product(dims, dim, factor_dim=D).load_state_dict`` takes; the embeddings are the identity.

    Raises:
        OptionError: the columns of ``weight`` are not the width of every modality.
    """
    if weight.dim() != 2 or any(width != weight.shape[1] for width in dims.values()):
        raise OptionError(
            f"weight must have shape [dim, D] with D the width of every modality in {dict(dims)}, got "
            f"{list(weight.shape)}."
        )
    identity = torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)
    state = {"out.weight": weight, "out.bias": bias}
    for name in dims:
        state |= {
            f"embed.{name}.weight": identity.clone(),
            f"embed.{name}.bias": torch.zeros_like(identity[0]),
        }
    return state
