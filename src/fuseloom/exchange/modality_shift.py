"""Modality shifting (MAG): what others say moves the tokens of one modality, by no more than their size."""

import math
from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.alignment.named import named_alignments
from fuseloom.errors import ModalityError, OptionError, did_you_mean
from fuseloom.exchange._base import Exchange
from fuseloom.nn.dropout import Dropout
from fuseloom.nn.partners import Pairs
from fuseloom.nn.tokens import as_tokens, like_stream
from fuseloom.registry import Card, register
from fuseloom.types import Alignment, Masks, Streams, Trace

__all__ = ["ModalityShift", "convert_modality_shift"]

_EPS = 1e-6


@register("modality_shift")
class ModalityShift(Exchange):
    r"""Each token of the primary modality is shifted by what the secondary ones say at its place.

    .. math:: y = \mathrm{norm}(x + \alpha h), \quad
        h = \sum_s \mathrm{ReLU}(W^g_s [x_s; x] + b^g_s) \odot (W_s x_s + b_s), \quad
        \alpha = \min\left(\frac{\beta \lVert x \rVert}{\lVert h \rVert + 10^{-6}},\ 1\right)

    with one :math:`\alpha` per token, so the shift is at most ``beta`` times as long as the token. Where
    ``h`` is zero its norm counts as one. The secondary streams leave as they came. An embedding is one token,
    a feature map one per pixel.

    A masked or absent secondary adds nothing to ``h``, not even its biases; a token without any is only
    normalised. Streams share their positions unless an ``alignment`` says which secondary tokens belong to
    which primary ones, as where a word has several word pieces; then a token reads the weighted mean of those
    aligned to it.

    Paper: Rahman et al., ACL 2020 (MAG), for one primary and two secondary modalities. It
    stands behind the embeddings of the text encoder, or behind one of its first layers.
    Differs from the official code: masks, alignments and any number of secondaries; ``dropout``, there 0.5,
    is off by default. The ratio of norms is computed in float32 at least.

    Args:
        dims: Modality name -> width.
        primary: The modality whose tokens are shifted; the first of ``dims`` by default.
        beta: Longest shift, in lengths of the token; published are 1 and 0.001.
        dropout: Probability of dropping a feature of the shifted tokens in training.

    Raises:
        ModalityError: fewer than two modalities, or an unknown ``primary``.
        OptionError: ``beta`` is not positive, or ``dropout`` is no probability.

    Reads:
        ``alignment``: ``<primary>_from_<secondary>`` -> `Alignment` of the secondary's tokens (source) to the
        primary's; a secondary without one shares the positions. For two modalities also one alone, of the
        first modality's tokens to the second's.

    Records:
        ``scale``: ``alpha``, ``[B, N]``; ``shift``: ``h``, and ``<secondary>.gate``, ``[B, N, D]``.

    Example:
        >>> exchange = ModalityShift({"text": 6, "audio": 4}, beta=0.5)
        >>> streams = {"text": torch.randn(2, 3, 6), "audio": torch.randn(2, 3, 4)}
        >>> out = exchange(streams)
        >>> tuple(out["text"].shape), out["audio"].equal(streams["audio"])
        ((2, 3, 6), True)
    """

    card = Card(
        summary="Other modalities shift the tokens of one, by no more than their size.",
        interaction="nonlinear",
        cost="N D sum_s (2 D_s + D)",
        parameters="per secondary modality",
        arity=(2, None),
        reads=("alignment",),
        aligned=True,
        paper="Rahman et al., ACL 2020",
        code="https://github.com/WasifurRahman/BERT_multimodal_transformer",
        differs="masks, alignments, any number of secondary modalities; no dropout by default",
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        primary: str | None = None,
        beta: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(dims)
        self.primary = next(iter(self.dims)) if primary is None else primary
        if self.primary not in self.dims:
            hint = did_you_mean(self.primary, self.dims)
            raise ModalityError(f"primary must be a modality, got {primary!r}.{hint}")
        if not 0 < beta < math.inf:
            raise OptionError(f"beta must be positive and finite, got {beta}.")
        if not 0 <= dropout < 1:
            raise OptionError(f"dropout must be in [0, 1), got {dropout}.")
        self.beta, dim = beta, self.dims[self.primary]
        others = {name: width for name, width in self.dims.items() if name != self.primary}
        self.read = nn.ModuleDict({name: nn.Linear(width, 2 * dim) for name, width in others.items()})
        """Secondary -> its features to its half of the gate, and to what the gate lets through."""
        self.gate = nn.ModuleDict({name: nn.Linear(dim, dim, bias=False) for name in others})
        """Secondary -> the primary's features to the other half of its gate."""
        self.norm, self.dropout = nn.LayerNorm(dim), Dropout(dropout)

    def exchange(
        self,
        streams: Streams,
        masks: Masks,
        *,
        trace: Trace | None,
        alignment: Alignment | Mapping[str, Alignment] | None = None,
        **reads: Any,
    ) -> Streams:
        own = as_tokens(streams[self.primary])
        pairs = named_alignments(alignment, self.dims, batch=own.shape[0])
        steps = []
        for name in self.read:
            value, real = self._brought(name, streams, masks, pairs)
            gate, step = self.read[name](value).chunk(2, -1)
            gate = (gate + self.gate[name](own)).relu()
            steps.append(gate * step if real is None else (gate * step).masked_fill(~real[..., None], 0))
            if trace is not None:
                trace.record(f"{name}.gate", gate)
        shift = reduce(add, steps)
        scale = self._scale(own, shift)
        if trace is not None:
            trace.record("scale", scale)
            trace.record("shift", shift)
        moved = self.dropout(
            self.norm(torch.addcmul(own, scale[..., None].to(own.dtype), shift.to(own.dtype)))
        )
        return streams | {self.primary: like_stream(moved, streams[self.primary])}

    def _brought(
        self, name: str, streams: Streams, masks: Masks, pairs: Mapping[str, Alignment]
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens of a secondary at the primary's places ``[B, N, D_s]``, and where there are any."""
        value, target = streams[name], streams[self.primary]
        mask = masks[name].reshape(value.shape[0], -1) if name in masks else None
        key = f"{self.primary}_from_{name}"
        if key in pairs:
            count = as_tokens(target).shape[1]
            return Pairs.take(pairs[key], as_tokens(value), count, mask).partners()
        if _places(value) != _places(target):
            raise ModalityError(
                f"Streams without an alignment must share their positions, got {self.primary!r} with "
                f"{_places(target)} and {name!r} with {_places(value)}. Pass alignment={{{key!r}: ...}}."
            )
        return as_tokens(value), mask

    def _scale(self, own: Tensor, shift: Tensor) -> Tensor:
        wide = torch.promote_types(own.dtype, torch.float32)
        length, moved = (torch.linalg.vector_norm(x, dim=-1, dtype=wide) for x in (own, shift))
        ratio = self.beta * length / (moved.masked_fill(moved == 0, 1) + _EPS)
        # At a ratio of exactly one half of the gradient passes, as in the official code; clamp passes all.
        return torch.minimum(ratio, ratio.new_ones(()))


def _places(value: Tensor) -> tuple[int, ...]:
    """Shape of the positions of a stream."""
    return tuple(value.shape[2:]) if value.dim() == 4 else tuple(value.shape[1:-1])


def convert_modality_shift(
    official: Mapping[str, Tensor], secondaries: Mapping[str, str]
) -> dict[str, Tensor]:
    """State dict of `ModalityShift` from that of an official MAG.

    Args:
        official: ``W_h<letter>``, ``W_<letter>`` and ``LayerNorm``, each with weight and bias.
        secondaries: Our name of each secondary modality -> its letter, as in
            ``{"visual": "v", "acoustic": "a"}``.

    Raises:
        OptionError: a key that is missing or unknown.
    """
    wanted = {f"W_{h}{letter}" for letter in secondaries.values() for h in ("", "h")} | {"LayerNorm"}
    keys = {f"{layer}.{kind}" for layer in wanted for kind in ("weight", "bias")}
    if wrong := sorted(keys ^ official.keys()):
        raise OptionError(f"official must hold {sorted(keys)}, got {wrong[0]!r} missing or in addition.")
    state = {f"norm.{kind}": official[f"LayerNorm.{kind}"] for kind in ("weight", "bias")}
    for name, letter in secondaries.items():
        width = official[f"W_{letter}.weight"].shape[1]
        read, gate = official[f"W_h{letter}.weight"].split_with_sizes(
            [width, official[f"W_h{letter}.weight"].shape[1] - width], 1
        )
        state[f"read.{name}.weight"] = torch.cat([read, official[f"W_{letter}.weight"]])
        state[f"read.{name}.bias"] = torch.cat([official[f"W_{h}{letter}.bias"] for h in ("h", "")])
        state[f"gate.{name}.weight"] = gate
    return state
