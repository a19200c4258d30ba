"""MulT: a crossmodal transformer for every ordered pair of modalities."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import permutations
from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.exchange._base import Exchange
from fuseloom.nn.attention_records import record_owners
from fuseloom.nn.crossmodal import MarkedPositions, PlacedTokens, convert_crossmodal, halved_waves, not_later
from fuseloom.nn.linear import sum_of_linears
from fuseloom.nn.tokens import like_stream
from fuseloom.nn.transformer import SinusoidalPositions, TransformerEncoder, divisible_width
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["Mult", "convert_mult"]


@register("mult")
class Mult(Exchange):
    r"""For each target and source, a transformer whose queries are the target's tokens, keys the source's.

    .. math:: h_m = \sqrt{D} W_m x_m + p, \quad z_{t \leftarrow s} = \mathrm{Transformer}_{ts}(h_t, h_s)

    .. math:: y_t = x_t + \sum_{s \ne t} O_{ts} z_{t \leftarrow s}

    All layers of a transformer read the low-level tokens :math:`h_s` of the source and change those of the
    target; lengths and widths may differ. The sum is a linear map of the concatenation over sources that the
    paper makes: so a stream keeps its width, and the weights of a pair stay when a modality is added. It has
    no bias: a sample whose sources are all absent keeps its values exactly. What the paper puts behind, a
    transformer of self-attention per target and the last step of each, is for what follows the exchange: the
    merge ``late_transformer``, or stages of an encoder. `attend_pairs` gives the :math:`z` themselves.

    An embedding is one token without a position, a feature map one token per pixel, whose row is told by one
    half of the features and whose column by the other.

    Paper: Tsai et al., 2019, arXiv:1906.00295.
    Differs from the official code: a real token has a position also where its first feature is zero
    (``faithful`` takes the zero for padding, as the code does); every token sees the whole source unless
    ``causal``, the code's default; keys and values are dropped together; any number of modalities, masks.

    Args:
        dims: Modality name -> width ``D_m``.
        dim: Width ``D`` of the transformers; the largest input width by default, rounded up to a multiple of
            ``num_heads``.
        hidden: Width of each layer's feedforward map, as many layers as widths; two of four times ``dim`` by
            default.
        num_heads: Attention heads.
        dropout: Probability of dropping an attention weight, a hidden feature, a feature of an update or of
            what goes into a transformer.
        causal: Let no token look ahead: token ``i`` of the target sees token ``j`` of the source where
            ``j - i`` is at most the difference of their lengths.
        faithful: Take a token whose first feature is zero for padding without a position.

    Raises:
        ModalityError: fewer than two modalities.
        OptionError: no layer, ``num_heads`` that does not divide ``dim``, or ``dropout`` outside [0, 1).

    Records:
        ``<target>_from_<source>.layer.<number>.attention``: ``[B, H, N_target, N_source]``; and what
        `record_owners` files under ``<target>_from_<source>.layer``.

    Example:
        >>> exchange = Mult({"text": 6, "audio": 4}, num_heads=2)
        >>> out = exchange({"text": torch.ones(2, 3, 6), "audio": torch.ones(2, 5, 4)})
        >>> {name: tuple(value.shape) for name, value in out.items()}
        {'text': (2, 3, 6), 'audio': (2, 5, 4)}
    """

    card = Card(
        summary="A crossmodal transformer for every ordered pair of modalities.",
        interaction="nonlinear",
        cost="sum_m N_m D_m D + sum_{t != s} D (L (10 N_t D + 2 N_s D + 2 N_t N_s) + N_t D_t), for L layers",
        parameters="per ordered pair",
        arity=(2, None),
        symmetric=True,
        paper="Tsai et al., 2019, arXiv:1906.00295",
        code="https://github.com/yaohungt/Multimodal-Transformer",
        differs="positions do not depend on values; every token sees the whole source; masks; a sum of "
        "linear maps instead of the concatenation",
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        dim: int | None = None,
        hidden: Sequence[int] | None = None,
        num_heads: int = 4,
        dropout: float = 0.0,
        causal: bool = False,
        faithful: bool = False,
    ) -> None:
        super().__init__(dims)
        self.dim = divisible_width(max(self.dims.values()), num_heads) if dim is None else dim
        self.causal = causal
        encode = partial(
            TransformerEncoder,
            self.dim,
            hidden=(4 * self.dim,) * 2 if hidden is None else hidden,
            num_heads=num_heads,
            dropout=dropout,
        )
        pairs = {f"{target}_from_{source}": target for target, source in permutations(self.dims, 2)}
        self.encoder = nn.ModuleDict({pair: encode() for pair in pairs})
        self.embed = nn.ModuleDict(
            {name: nn.Linear(width, self.dim, bias=False) for name, width in self.dims.items()}
        )
        positions: nn.Module = SinusoidalPositions(halved_waves)
        placed = MarkedPositions(positions) if faithful else positions
        self.place = PlacedTokens(positions=placed, dropout=dropout)
        scale = 1 / math.sqrt(self.dim * (len(self.dims) - 1))
        self.out = nn.ParameterDict(
            {pair: torch.randn(self.dims[target], self.dim) * scale for pair, target in pairs.items()}
        )

    def exchange(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Streams:
        pairs = self.attend_pairs(streams, masks, trace=trace)
        changed = {}
        for target, stream in streams.items():
            names = [f"{target}_from_{source}" for source in self.dims if source != target]
            update = sum_of_linears([pairs[n] for n in names], [self.out[n] for n in names])
            changed[target] = stream + like_stream(update, stream)
        return changed

    def attend_pairs(
        self,
        streams: Mapping[str, Tensor],
        masks: Mapping[str, Tensor | None] | None = None,
        *,
        trace: Trace | None = None,
    ) -> dict[str, Tensor]:
        """What each target makes of each source, which the paper concatenates over sources.

        Args:
            streams: As for a call of the exchange.
            masks: As for a call of the exchange.
            trace: Collects the attention.

        Returns:
            ``<target>_from_<source>`` -> ``[B, N_target, dim]``, zero where a sample lacks the source.
        """
        values, kept = self.enter(streams, masks)
        tokens = {name: self._embed(name, value) for name, value in values.items()}
        keys = {name: mask.unsqueeze(1).flatten(1) for name, mask in kept.items()}  # [B, N]
        pairs: dict[str, Tensor] = {}
        for name in self.encoder:
            target, source = name.split("_from_")
            scope = None if trace is None else trace.scope(name)
            seen = self._seen(tokens[target], tokens[source], keys.get(source))
            if scope is not None:
                record_owners(
                    scope,
                    "layer",
                    {source: tokens[source].shape[1]},
                    like=tokens[source],
                    mask=keys.get(source),
                    asked=keys.get(target),
                )
            encoded = self.encoder[name](tokens[target], seen, source=tokens[source], trace=scope)
            absent = None if source not in keys else ~keys[source].any(1)[:, None, None]
            pairs[name] = encoded if absent is None else encoded.masked_fill(absent, 0)
        return pairs

    def _embed(self, name: str, value: Tensor) -> Tensor:
        """``[B, N, D]``: one token of an embedding, one per pixel of a feature map."""
        placed: Tensor = self.place(self.embed[name](value.movedim(1, -1) if value.dim() == 4 else value))
        return placed.unsqueeze(1).flatten(1, -2)

    def _seen(self, target: Tensor, source: Tensor, mask: Tensor | None) -> Tensor | None:
        if not self.causal:
            return mask
        past = not_later(target.shape[1], source.shape[1], device=target.device)
        return past if mask is None else past & mask[:, None]


def convert_mult(
    official: Mapping[str, Tensor], names: Mapping[str, str], out: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """State dict of `Mult` from that of the official ``MULTModel``, without what follows the transformers.

    Args:
        official: Keys ``proj_<l>.weight`` ``[dim, D_m, 1]`` and ``trans_<l>_with_<a>.*``; others are unused.
        names: Our name of a modality -> its letter in the official keys.
        out: ``<target>_from_<source>`` -> ``[D_target, dim]``, which the official model does not have.

    Returns:
        What ``Mult`` with ``faithful=True`` takes. A modality that has width ``dim`` already enters the
        official model as it is; then our map is the identity.
    """
    converted = {f"out.{name}": value for name, value in out.items()}
    for name, letter in names.items():
        weight = official[f"proj_{letter}.weight"].squeeze(2)
        square = weight.shape[0] == weight.shape[1]
        converted[f"embed.{name}.weight"] = torch.eye(len(weight)).to(weight) if square else weight
    for pair in out:
        target, source = pair.split("_from_")
        prefix = f"trans_{names[target]}_with_{names[source]}."
        state = {key.removeprefix(prefix): v for key, v in official.items() if key.startswith(prefix)}
        converted |= {f"encoder.{pair}.{key}": value for key, value in convert_crossmodal(state).items()}
    return converted
