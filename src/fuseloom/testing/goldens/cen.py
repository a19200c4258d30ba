"""Runners of CEN: the exchange alone, and behind a shared convolution."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from fuseloom.errors import DataError
from fuseloom.exchange.channel_exchange import ChannelExchange, convert_channel_exchange
from fuseloom.testing.goldens._case import Given, GoldenCase, Runner, gradients, leaf
from fuseloom.types import Streams

__all__ = ["RUNNERS"]

_NAMES = ("x0", "x1")


def _exchange(given: Given) -> dict[str, Tensor]:
    streams = _streams(given)
    with torch.device("meta"):
        part = ChannelExchange(
            _widths(streams), norm=None, threshold=given.option("bn_threshold"), faithful=True
        )
    scales = {name: given.inputs[f"gamma{i}"] for i, name in enumerate(_NAMES)}
    state = convert_channel_exchange({}, part.dims)
    part.load_state_dict(state, assign=True)
    return _results(given, part(streams, scales=scales), streams)


def _conv_exchange(given: Given) -> dict[str, Tensor]:
    streams, weights = _streams(given), _weights(given)
    width, stride = given.option("cout"), given.option("stride")
    kernel = weights["conv2.module.weight"]
    if kernel.shape[:2] != (width, given.option("cin")):
        raise DataError(f"conv2 must map cin to cout as config says, got {tuple(kernel.shape)}.")
    hidden = {name: F.conv2d(x, kernel, stride=stride, padding=1) for name, x in streams.items()}
    out, state = _exchanged(given, hidden, weights)
    found = _results(given, out, streams | _parameters(weights))
    if _training(given):
        for i, name in enumerate(_NAMES):
            for what in ("running_mean", "running_var"):
                found[f"output.bn{i}.{what}"] = state[f"norm.{name}.{what}"]
    return found


def _exchanged(
    given: Given, streams: Streams, weights: Mapping[str, Tensor]
) -> tuple[Streams, Mapping[str, Tensor]]:
    """The streams behind the part in the place of ``bn2``, and its state, with what training has changed."""
    official = {name.removeprefix("bn2."): w for name, w in weights.items() if name.startswith("bn2.")}
    dims = _widths(streams)
    with torch.device("meta"):
        part = ChannelExchange(dims, threshold=given.option("bn_threshold"), faithful=True)
    state = convert_channel_exchange(official, dims)
    # Loading refuses shapes that do not fit; calling with the state lets gradients reach official weights.
    part.load_state_dict({name: value.detach() for name, value in state.items()}, assign=True)
    out: Streams = functional_call(part.train(_training(given)), dict(state), (streams,), strict=True)
    return out, state


def _training(given: Given) -> bool:
    """Whether norms take the statistics of the batch; the mode may say more than one word."""
    word = str(given.mode).partition(" ")[0]
    if word not in ("eval", "train"):
        raise DataError(f"mode must start with 'eval' or 'train', got {given.mode!r}.")
    return word == "train"


def _streams(given: Given) -> Streams:
    return {name: leaf(given.inputs[name]) for name in _NAMES}


def _widths(streams: Streams) -> dict[str, int]:
    return {name: value.shape[1] for name, value in streams.items()}


def _weights(given: Given) -> dict[str, Tensor]:
    """Copies: training changes running statistics in place."""
    return {
        name: value.clone() if ".running_" in name else leaf(value)
        for name, value in given.weights.under("").items()
    }


def _parameters(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"weight.{name}": value for name, value in weights.items() if value.requires_grad}


def _results(given: Given, out: Streams, sources: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {f"output.y{i}": out[name] for i, name in enumerate(_NAMES)}
    terms = [(out[name] * given.inputs[f"cotangent{i}"]).sum() for i, name in enumerate(_NAMES)]
    total = torch.stack(terms).sum()
    return found | gradients(total, torch.ones_like(total), sources)


def _statistics(case: GoldenCase) -> tuple[str, ...]:
    """Running statistics, which training does not read; where they are stored, they are compared."""
    kept = any("running_" in name for name in case.expected)
    return ("*.running_*",) if case.mode == "train" and not kept else ()


RUNNERS: Mapping[str, Runner] = {
    "cen/conv_bn_exchange": Runner(run=_conv_exchange, idle=_statistics),
    "cen/exchange": Runner(run=_exchange),
}
