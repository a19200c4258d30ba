"""A transformer over the positions that all modalities share: early fusion of sequences."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.merge._base import Merge, Pool, check_positions
from fuseloom.nn import (
    SinusoidalPositions,
    TransformerEncoder,
    convert_transformer,
    divisible_width,
    masked_last,
    masked_mean,
    stack_masks,
    sum_of_linears,
)
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["EarlyTransformer", "convert_early_transformer"]


@register("early_transformer")
class EarlyTransformer(Merge):
    r"""Transformer over positions at each of which all modalities are concatenated.

    .. math:: z = W\, \mathrm{pool}(\mathrm{Transformer}(u + p)) + b, \quad u_n = \sum_m E_m x_{m, n}

    ``u_n`` is a linear map of the concatenation, without concatenating; ``p`` are sinusoidal positions, which
    exist at any length. All streams must share their positions: resample them first, or use
    ``late_transformer``. Embeddings are one position without ``p``; of feature maps every pixel is one.

    An absent modality contributes zeros; a position where all are absent is neither attended to nor pooled.

    Differs from the official code: there each norm stands behind the residual sum, there are no positions,
    and the last step is taken instead of a mean, as with ``faithful``. Its linear map to the prediction is a
    head, and no part of the merge.

    Args:
        dims: Modality name -> width ``D_m``.
        dim: Width of the fused value; inside, tokens have that width rounded up to a multiple of
            ``num_heads``.
        hidden: Width of each layer's feedforward map; one layer, four times as wide as the tokens, by
            default.
        num_heads: Attention heads.
        dropout: Probability of dropping an attention weight, a hidden feature or a feature of a branch.
        pool: Makes one vector of all positions; ``None`` keeps them.
        faithful: Use the official parts, among them the last real position in place of ``pool``.

    Raises:
        OptionError: no heads, no layer, or ``dropout`` that is no probability.

    Records:
        ``layer.<number>.attention``: attention ``[B, H, N, N]``, over positions: no modality owns one.

    Example:
        >>> merge = EarlyTransformer({"text": 6, "audio": 4}, dim=8)
        >>> merge({"text": torch.ones(2, 5, 6), "audio": torch.ones(2, 5, 4)}).shape
        torch.Size([2, 8])
    """

    card = Card(
        summary="Transformer over shared positions, all modalities concatenated at each of them.",
        interaction="nonlinear",
        cost="N K sum_m D_m + L (12 N K^2 + 2 N^2 K) + K^2, for L layers and tokens of width K",
        parameters="per modality, and one shared transformer",
        aligned=True,
        symmetric=True,
        code="pliang279/MultiBench",
        differs="Norms stand before each branch, tokens have positions, and the mean over tokens is taken.",
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        dim: int | None = None,
        *,
        hidden: Sequence[int] | None = None,
        num_heads: int = 4,
        dropout: float = 0.0,
        pool: Pool | None = masked_mean,
        faithful: bool = False,
    ) -> None:
        super().__init__(dims, dim)
        width = divisible_width(self.dim, num_heads)
        layers = hidden if hidden is not None else (4 * width,)
        scale = 1 / math.sqrt(sum(self.dims.values()))
        self.embed = nn.ParameterDict({name: torch.randn(width, d) * scale for name, d in self.dims.items()})
        self.place: nn.Module = nn.Identity() if faithful else SinusoidalPositions()
        self.encoder = TransformerEncoder(
            width, hidden=layers, num_heads=num_heads, dropout=dropout, post_norm=faithful
        )
        self.pool = masked_last if faithful else pool
        self.out = nn.Linear(width, self.dim)
        nn.init.normal_(self.out.weight, std=1 / math.sqrt(width))
        nn.init.zeros_(self.out.bias)

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        check_positions(streams, remedy="Resample them, or use late_transformer.")
        joined = sum_of_linears(list(streams.values()), [self.embed[name] for name in self.dims])
        tokens = self.place(joined).unsqueeze(1).flatten(1, -2)  # [B, N, K], one token of an embedding
        stacked = stack_masks([masks.get(name) for name in self.dims])
        kept = None if stacked is None else stacked.any(-1).unsqueeze(1).flatten(1)  # [B, N]
        encoded = self.encoder(tokens, kept, trace=trace)
        pooled = encoded.view(joined.shape) if self.pool is None else self.pool(encoded, kept)
        fused: Tensor = self.out(pooled)
        return fused


def convert_early_transformer(official: Mapping[str, Tensor], dims: Mapping[str, int]) -> dict[str, Tensor]:
    """State dict of `EarlyTransformer` from MultiBench's ``EarlyFusionTransformer``.

    Args:
        official: Its state without ``linear``, which is the head: ``conv.weight`` ``[K, sum of D_m, 1]`` and
            ``transformer.*``.
        dims: Modality name -> width ``D_m``, in the order of the concatenation.

    Returns:
        What ``EarlyTransformer(dims, K, faithful=True, ...)`` takes.

    Raises:
        OptionError: the channels of ``conv.weight`` are not those of ``dims``, or a key is unknown.
    """
    layers = {key: value for key, value in official.items() if key != "conv.weight"}
    weight, total = official["conv.weight"], sum(dims.values())
    if weight.dim() != 3 or weight.shape[1:] != (total, 1):
        raise OptionError(
            f"conv.weight must have shape [K, {total}, 1], the sum of dims, got {list(weight.shape)}."
        )
    columns = zip(dims, weight.squeeze(2).split_with_sizes(list(dims.values()), 1), strict=True)
    encoder = convert_transformer({key.removeprefix("transformer."): v for key, v in layers.items()})
    return {f"embed.{name}": part.contiguous() for name, part in columns} | {
        **{f"encoder.{key}": value for key, value in encoder.items()},
        "out.weight": torch.eye(len(weight)).to(weight),
        "out.bias": weight.new_zeros(len(weight)),
    }
