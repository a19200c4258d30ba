"""Runners of GeminiFusion's fusion of two streams, alone and stacked."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import functional_call

from fuseloom.errors import DataError
from fuseloom.exchange.pixel_attention import PixelAttention, convert_pixel_attention
from fuseloom.nn.relation import pair_scores
from fuseloom.testing.goldens._case import Given, Runner, gradients, leaf
from fuseloom.types import Streams, Trace

__all__ = ["RUNNERS"]

_NAMES = ("x0", "x1")


def _fusion(given: Given) -> dict[str, Tensor]:
    official = {name: leaf(given.weights[name]) for name in given.weights}
    streams, trace = _streams(given), Trace()
    state = convert_pixel_attention(official, _dims(streams))
    out = _apply(given, state, streams, trace=trace)
    found = {f"output.y{i}": out[name] for i, name in enumerate(_NAMES)}
    found |= _scores(state, streams)
    for i, (target, source) in enumerate((_NAMES, _NAMES[::-1])):
        found[f"mid.attn_mean_{i}{1 - i}"] = _mean_weights(trace, target, source)
    return found | _gradients(given, out, official | streams)


def _fusion_stack(given: Given) -> dict[str, Tensor]:
    layers = given.option("layers")
    streams = out = _streams(given)
    found: dict[str, Tensor] = {}
    for layer in range(layers):
        state = convert_pixel_attention(given.weights.under(f"{layer}."), _dims(out))
        out = _apply(given, state, out)
        found |= {f"mid.layer{layer}.y{i}": out[name] for i, name in enumerate(_NAMES)}
    found |= {f"output.y{i}": out[name] for i, name in enumerate(_NAMES)}
    return found | _gradients(given, out, streams)


def _streams(given: Given) -> Streams:
    streams = {name: leaf(given.inputs[name]) for name in _NAMES}
    expected = tuple(given.option(size) for size in "BNC")
    for name, value in streams.items():
        if value.shape != expected:
            raise DataError(f"{name} must have shape {expected} as config says, got {tuple(value.shape)}.")
    return streams


def _dims(streams: Streams) -> dict[str, int]:
    return {name: value.shape[-1] for name, value in streams.items()}


def _apply(
    given: Given, state: Mapping[str, Tensor], streams: Streams, *, trace: Trace | None = None
) -> Streams:
    with torch.device("meta"):
        part = PixelAttention(_dims(streams), num_heads=given.option("cross_heads"), faithful=True)
    # Loading refuses shapes that do not fit; calling with the state lets gradients reach official weights.
    part.load_state_dict({name: value.detach() for name, value in state.items()}, assign=True)
    out: Streams = functional_call(part.eval(), dict(state), (streams,), {"trace": trace}, strict=True)
    return out


def _scores(state: Mapping[str, Tensor], streams: Streams) -> dict[str, Tensor]:
    hidden, out = (
        (state[f"relation.{layer}.weight"], state[f"relation.{layer}.bias"]) for layer in ("hidden", "out")
    )
    first = next(iter(streams.values()))
    found = pair_scores([value.flatten(0, 1) for value in streams.values()], hidden, out)
    return {f"mid.score_{i}{j}": score.view_as(first) for (i, j), score in found.items()}


def _mean_weights(trace: Trace, target: str, source: str) -> Tensor:
    """Weights of the own and the other key, averaged over heads: ``[B, N, 2]``."""
    return torch.stack([trace.records[f"{target}_from_{key}"].mean(1) for key in (target, source)], -1)


def _gradients(given: Given, out: Streams, sources: Mapping[str, Tensor]) -> dict[str, Tensor]:
    pairs = zip(out.values(), (given.inputs[f"cotangent{i}"] for i in range(len(_NAMES))), strict=True)
    total = torch.stack([(value * cotangent).sum() for value, cotangent in pairs]).sum()
    return gradients(total, torch.ones_like(total), sources)


RUNNERS: Mapping[str, Runner] = {
    "geminifusion/fusion": Runner(run=_fusion),
    "geminifusion/fusion_stack": Runner(run=_fusion_stack),
}
