"""Runners of TokenFusion: exchange and scores alone, and inside the attention and block of its network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fuseloom.errors import DataError
from fuseloom.exchange.channel_exchange import ChannelExchange, convert_channel_exchange
from fuseloom.exchange.token_exchange import TokenExchange, convert_token_exchange
from fuseloom.nn import attend
from fuseloom.nn.score import ScorePredictor
from fuseloom.testing.goldens._case import Given, Runner, gradients, leaf, load_module
from fuseloom.types import Streams, Trace

__all__ = ["RUNNERS"]

_NAMES = ("x0", "x1")
_NORM_EPS = 1e-6
_L1_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class _Mit:
    """Attention and block of the two-stream MiT, by their official weights; norms are per modality."""

    weights: Mapping[str, Tensor]
    grid: tuple[int, int]
    num_heads: int
    reduction: int

    @classmethod
    def of(cls, given: Given, weights: Mapping[str, Tensor], streams: Streams) -> "_Mit":
        grid = given.option("H"), given.option("W")
        expected = (grid[0] * grid[1], given.option("dim"))
        for name, value in streams.items():
            if value.shape[1:] != expected:
                raise DataError(
                    f"{name} must have {expected[0]} tokens of width {expected[1]} as config says, got shape "
                    f"{tuple(value.shape)}."
                )
        heads, reduction = given.option("num_heads"), given.option("sr_ratio")
        return cls(weights=weights, grid=grid, num_heads=heads, reduction=reduction)

    def under(self, prefix: str) -> "_Mit":
        """The same with the weights that stand under a prefix."""
        kept = {n.removeprefix(prefix): w for n, w in self.weights.items() if n.startswith(prefix)}
        return _Mit(weights=kept, grid=self.grid, num_heads=self.num_heads, reduction=self.reduction)

    def attend(self, streams: Streams) -> Streams:
        """Self-attention of each stream; a reduced grid has the keys and values."""
        out = {}
        for name, tokens in streams.items():
            key, value = self._linear("kv", self._reduced(name, tokens)).chunk(2, -1)
            mixed = attend(self._linear("q", tokens), key, value, num_heads=self.num_heads)
            out[name] = self._linear("proj", mixed)
        return out

    def _reduced(self, name: str, tokens: Tensor) -> Tensor:
        if self.reduction == 1:
            return tokens
        reduced = F.conv2d(
            self._as_map(tokens),
            self.weights["sr.module.weight"],
            self.weights["sr.module.bias"],
            stride=self.reduction,
        )
        return self.normalise("norm", {name: reduced.flatten(2).transpose(1, 2)})[name]

    def normalise(self, prefix: str, streams: Streams) -> Streams:
        """LayerNorm of each stream."""
        out = {}
        for name, tokens in streams.items():
            stem = f"{prefix}.ln_{_NAMES.index(name)}"
            weight, bias = (self.weights[f"{stem}.{what}"] for what in ("weight", "bias"))
            out[name] = F.layer_norm(tokens, weight.shape, weight, bias, _NORM_EPS)
        return out

    def feed(self, streams: Streams) -> Streams:
        """Two linear maps with a convolution per channel and GELU between them."""
        kernel, bias = (self.weights[f"mlp.dwconv.dwconv.{what}"] for what in ("weight", "bias"))
        out = {}
        for name, tokens in streams.items():
            wide = self._as_map(self._linear("mlp.fc1", tokens))
            wide = F.conv2d(wide, kernel, bias, padding=1, groups=len(kernel))
            out[name] = self._linear("mlp.fc2", F.gelu(wide.flatten(2).transpose(1, 2)))
        return out

    def block(self, streams: Streams, part: TokenExchange, **reads: Any) -> Streams:
        """The whole block; what attention adds is exchanged."""
        changed = part(self.under("attn.").attend(self.normalise("norm1", streams)), **reads)
        streams = {name: value + changed[name] for name, value in streams.items()}
        fed = self.feed(self.normalise("norm2", streams))
        return {name: value + fed[name] for name, value in streams.items()}

    def _linear(self, name: str, tokens: Tensor) -> Tensor:
        return F.linear(tokens, self.weights[f"{name}.module.weight"], self.weights[f"{name}.module.bias"])

    def _as_map(self, tokens: Tensor) -> Tensor:
        return tokens.transpose(1, 2).reshape(len(tokens), -1, *self.grid)


def _token_exchange(given: Given) -> dict[str, Tensor]:
    streams = _streams(given)
    with torch.device("meta"):
        part = TokenExchange(_widths(streams), form="token", threshold=given.option("mask_threshold"))
    return _results(given, part(streams, keep=_masks(given)), streams)


def _channel_exchange(given: Given) -> dict[str, Tensor]:
    # Channels stand second in the official order.
    streams = {name: given.inputs[name].transpose(1, 2) for name in _NAMES}
    with torch.device("meta"):
        part = ChannelExchange(
            _widths(streams), norm=None, threshold=given.option("threshold"), faithful=True
        )
    part.load_state_dict(convert_channel_exchange({}, part.dims), assign=True)
    out = part(streams, scales={name: given.inputs[f"gamma{i}"] for i, name in enumerate(_NAMES)})
    return {f"output.y{i}": out[name].transpose(1, 2) for i, name in enumerate(_NAMES)}


def _score_predictor(given: Given) -> dict[str, Tensor]:
    streams, trace = _streams(given), Trace()
    if (width := given.option("embed_dim")) != streams["x0"].shape[-1]:
        raise DataError(f"x0 must have width {width} as config says, got {streams['x0'].shape[-1]}.")
    part, sources = _loaded(given, streams, prefix="")
    part(streams, trace=trace)
    found = {"output.l1": (l1 := trace.losses["token_sparsity"])}
    terms = []
    for i, (name, value) in enumerate(streams.items()):
        predictor = part.predictor[name]
        assert isinstance(predictor, ScorePredictor)
        found[f"mid.logprob{i}"] = predictor.logits(value).log_softmax(-1)
        # Records of a trace are detached; the predictor gives the same with its gradient.
        found[f"output.mask{i}"] = predictor(value)
        terms.append((found[f"output.mask{i}"] * given.inputs[f"cotangent{i}"]).sum())
    total = torch.stack(terms).sum() + _L1_SHARE * l1
    return found | gradients(total, torch.ones_like(total), streams | sources)


def _attention(given: Given) -> dict[str, Tensor]:
    streams, weights = _streams(given), _weights(given)
    out = _Mit.of(given, weights, streams).attend(streams)
    sources = streams | {f"weight.{name}": value for name, value in weights.items()}
    if given.option("masked"):
        masks = _masks(given)
        with torch.device("meta"):
            part = TokenExchange(_widths(streams), threshold=given.option("mask_threshold"))
        out = part(out, keep=masks)
        sources |= {f"mask{i}": masks[name] for i, name in enumerate(_NAMES)}
    return _results(given, out, sources)


def _mit_block(given: Given) -> dict[str, Tensor]:
    streams, weights, masks = _streams(given), _weights(given), _masks(given)
    with torch.device("meta"):
        part = TokenExchange(_widths(streams))
    out = _Mit.of(given, weights, streams).block(streams, part, keep=masks)
    sources = streams | {f"mask{i}": masks[name] for i, name in enumerate(_NAMES)}
    return _results(given, out, sources | {f"weight.{name}": value for name, value in weights.items()})


def _score_block(given: Given) -> dict[str, Tensor]:
    streams, trace = _streams(given), Trace()
    part, sources = _loaded(given, streams, prefix="predictor.")
    block = {name: leaf(value) for name, value in given.weights.under("block.").items()}
    out = _Mit.of(given, block, streams).block(streams, part, inputs=streams, trace=trace)
    sources |= {f"weight.block.{name}": value for name, value in block.items()}
    mids = {f"mid.mask{i}": trace.records[f"{name}.scores"] for i, name in enumerate(_NAMES)}
    return mids | _results(given, out, streams | sources)


def _loaded(given: Given, streams: Streams, *, prefix: str) -> tuple[TokenExchange, dict[str, Tensor]]:
    """The part with the official predictors, and its parameters under their stored names."""
    official = given.weights.under(prefix)
    with torch.device("meta"):
        part = TokenExchange(_widths(streams), sparsity_weight=1.0, reduction="sum")
    state = convert_token_exchange(official, part.dims)
    load_module(part, state, training=given.training)
    ours = zip(official, state, strict=True)
    return part, {f"weight.{prefix}{theirs}": part.get_parameter(name) for theirs, name in ours}


def _streams(given: Given) -> Streams:
    return {name: leaf(given.inputs[name]) for name in _NAMES}


def _widths(streams: Streams) -> dict[str, int]:
    return {name: value.shape[-1] for name, value in streams.items()}


def _masks(given: Given) -> Streams:
    return {name: leaf(given.inputs[f"mask{i}"]) for i, name in enumerate(_NAMES)}


def _weights(given: Given) -> dict[str, Tensor]:
    return {name: leaf(value) for name, value in given.weights.under("").items()}


def _results(given: Given, out: Streams, sources: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {f"output.y{i}": out[name] for i, name in enumerate(_NAMES)}
    terms = [(out[name] * given.inputs[f"cotangent{i}"]).sum() for i, name in enumerate(_NAMES)]
    total = torch.stack(terms).sum()
    return found | gradients(total, torch.ones_like(total), sources)


RUNNERS: Mapping[str, Runner] = {
    "tokenfusion/attention": Runner(run=_attention),
    "tokenfusion/ln_channel_exchange": Runner(run=_channel_exchange),
    "tokenfusion/mit_block": Runner(run=_mit_block),
    "tokenfusion/score_block": Runner(run=_score_block),
    "tokenfusion/score_predictor": Runner(run=_score_predictor),
    "tokenfusion/token_exchange": Runner(run=_token_exchange),
}
