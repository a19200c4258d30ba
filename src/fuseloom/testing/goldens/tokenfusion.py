"""Runners of TokenFusion: exchange and scores alone, and inside the attention and block of its network."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fuseloom.errors import DataError
from fuseloom.exchange.channel_exchange import ChannelExchange, convert_channel_exchange
from fuseloom.exchange.token_exchange import TokenExchange, convert_token_exchange
from fuseloom.nn.score import ScorePredictor
from fuseloom.testing.goldens._case import Given, Runner, gradients, leaf, load_module
from fuseloom.types import Streams, Trace

__all__ = ["RUNNERS"]

_NAMES = ("x0", "x1")
_NORM_EPS = 1e-6
_L1_SHARE = 0.5


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
    "tokenfusion/ln_channel_exchange": Runner(run=_channel_exchange),
    "tokenfusion/score_predictor": Runner(run=_score_predictor),
    "tokenfusion/token_exchange": Runner(run=_token_exchange),
}
