"""A transformer per modality, its pooled tokens mapped linearly and summed: late fusion of sequences."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.merge._base import Merge, Pool
from fuseloom.nn import (
    SinusoidalPositions,
    TransformerEncoder,
    convert_transformer,
    divisible_width,
    masked_last,
    masked_mean,
    sum_of_linears,
)
from fuseloom.nn.attention_records import record_owners
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["LateTransformer", "convert_late_transformer"]


@register("late_transformer")
class LateTransformer(Merge):
    r"""Linear map of the concatenation of what each modality's own transformer makes of its tokens.

    .. math:: z = \sum_m W_m h_m + b, \quad h_m = \mathrm{pool}(\mathrm{Transformer}_m(E_m x_m + p))

    Lengths may differ; ``p`` are sinusoidal positions, which exist at any length. An embedding is one token
    without ``p`` (for its features to attend to one another, pass them as tokens of width one); of a feature
    map every pixel is one. Tokens under False are neither attended to nor pooled. An absent modality adds
    nothing, and a sample without any gives ``b``.

    Nonlinear in each modality, additive over modalities: none is seen through another.

    Differs from the official code, which encodes one modality: there each norm stands behind the residual
    sum, there are no positions, and the last step is taken instead of a mean, as with ``faithful``.

    Args:
        dims: Modality name -> width ``D_m``.
        dim: Width of the fused value; inside, tokens have that width rounded up to a multiple of
            ``num_heads``.
        hidden: Width of each layer's feedforward map; one layer, four times as wide as the tokens, by
            default.
        num_heads: Attention heads.
        dropout: Probability of dropping an attention weight, a hidden feature or a feature of a branch.
        pool: Makes one vector of a modality's tokens.
        faithful: Use the official parts, among them the last real token in place of ``pool``.

    Raises:
        OptionError: no heads, no layer, or ``dropout`` that is no probability.

    Records:
        ``<modality>.layer.<number>.attention``: attention ``[B, H, N_m, N_m]``; and what `record_owners`
        files under ``<modality>.layer``.

    Example:
        >>> merge = LateTransformer({"text": 6, "audio": 4}, dim=8)
        >>> merge({"text": torch.ones(2, 5, 6), "audio": torch.ones(2, 3, 4)}).shape
        torch.Size([2, 8])
    """

    card = Card(
        summary="Sum of linear maps of what each modality's own transformer makes of it.",
        interaction="additive",
        cost="sum_m N_m D_m K + L (12 N_m K^2 + 2 N_m^2 K) + K^2, for L layers and tokens of width K",
        parameters="per modality",
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
        pool: Pool = masked_mean,
        faithful: bool = False,
    ) -> None:
        super().__init__(dims, dim)
        width = divisible_width(self.dim, num_heads)
        layers = hidden if hidden is not None else (4 * width,)
        self.embed = nn.ParameterDict(
            {name: torch.randn(width, d) / math.sqrt(d) for name, d in self.dims.items()}
        )
        self.place: nn.Module = nn.Identity() if faithful else SinusoidalPositions()
        self.encoder = nn.ModuleDict(
            {
                name: TransformerEncoder(
                    width, hidden=layers, num_heads=num_heads, dropout=dropout, post_norm=faithful
                )
                for name in self.dims
            }
        )
        self.pool = masked_last if faithful else pool
        scale = 1 / math.sqrt(width * len(self.dims))
        self.out = nn.ParameterDict({name: torch.randn(self.dim, width) * scale for name in self.dims})
        self.bias = nn.Parameter(torch.zeros(self.dim))

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        vectors = [self._encode(name, value, masks.get(name), trace) for name, value in streams.items()]
        return sum_of_linears(vectors, [self.out[name] for name in self.dims], self.bias)

    def _encode(self, name: str, value: Tensor, mask: Tensor | None, trace: Trace | None) -> Tensor:
        embedded = self.place(nn.functional.linear(value, self.embed[name]))
        tokens = embedded.unsqueeze(1).flatten(1, -2)  # [B, N, K], one token of an embedding
        kept = None if mask is None else mask.unsqueeze(1).flatten(1)  # [B, N]
        scope = None if trace is None else trace.scope(name)
        if scope is not None:
            record_owners(scope, "layer", {name: tokens.shape[1]}, like=tokens, mask=kept, asked=kept)
        return self.pool(self.encoder[name](tokens, kept, trace=scope), kept)


def convert_late_transformer(
    official: Mapping[str, Mapping[str, Tensor]], weight: Tensor, bias: Tensor
) -> dict[str, Tensor]:
    """State dict of `LateTransformer` from one of MultiBench's ``LateFusionTransformer`` per modality.

    Args:
        official: Modality name -> its state: ``conv.weight`` ``[K, D_m, 1]`` and ``transformer.*``; the class
            reads a vector as tokens of width one, so ``D_m`` is one there.
        weight: ``[dim, M K]``, linear map of the concatenation of what they give, as in ``nn.Linear``.
        bias: ``[dim]``.

    Returns:
        What ``LateTransformer`` with ``faithful=True`` and tokens of width ``K`` takes.

    Raises:
        OptionError: the columns of ``weight`` are not those of the encoders, or a key is unknown.
    """
    widths = [len(state["conv.weight"]) for state in official.values()]
    if weight.dim() != 2 or weight.shape[1] != sum(widths):
        raise OptionError(
            f"weight must have shape [dim, {sum(widths)}], the sum of the encoders' widths, got "
            f"{list(weight.shape)}."
        )
    converted = {"bias": bias}
    for name, part in zip(official, weight.split_with_sizes(widths, 1), strict=True):
        layers = {key: value for key, value in official[name].items() if key != "conv.weight"}
        encoder = convert_transformer({key.removeprefix("transformer."): v for key, v in layers.items()})
        converted |= {f"encoder.{name}.{key}": value for key, value in encoder.items()}
        converted |= {
            f"embed.{name}": official[name]["conv.weight"].squeeze(2),
            f"out.{name}": part.contiguous(),
        }
    return converted
