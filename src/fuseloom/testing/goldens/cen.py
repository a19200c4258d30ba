"""Runners of CEN: the exchange alone, behind a shared convolution, and in a bottleneck of its ResNet."""

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
_EPS = 1e-5


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


def _bottleneck(given: Given) -> dict[str, Tensor]:
    streams, weights = _streams(given), _weights(given)
    kernel, stride = weights["conv1.module.weight"], given.option("stride")
    if kernel.shape[:2] != (given.option("planes"), given.option("inplanes")):
        raise DataError(f"conv1 must map inplanes to planes as config says, got {tuple(kernel.shape)}.")
    narrow = {n: _norm(given, weights, "bn1", n, F.conv2d(x, kernel)).relu() for n, x in streams.items()}
    kernel = weights["conv2.module.weight"]
    middle = {n: F.conv2d(x, kernel, stride=stride, padding=1) for n, x in narrow.items()}
    changed, _ = _exchanged(given, middle, weights)
    out = {}
    for name, value in changed.items():
        wide = F.conv2d(value.relu(), weights["conv3.module.weight"])
        skipped = _skip(given, weights, name, streams[name])
        out[name] = (_norm(given, weights, "bn3", name, wide) + skipped).relu()
    return _results(given, out, streams | _parameters(weights))


def _skip(given: Given, weights: Mapping[str, Tensor], name: str, value: Tensor) -> Tensor:
    if not given.option("downsample"):
        return value
    value = F.conv2d(value, weights["downsample.0.module.weight"], stride=given.option("stride"))
    return _norm(given, weights, "downsample.1", name, value)


def _norm(given: Given, weights: Mapping[str, Tensor], prefix: str, name: str, value: Tensor) -> Tensor:
    stem = f"{prefix}.bn_{_NAMES.index(name)}"
    mean, variance, weight, bias = (
        weights[f"{stem}.{what}"] for what in ("running_mean", "running_var", "weight", "bias")
    )
    return F.batch_norm(value, mean, variance, weight, bias, training=_training(given), eps=_EPS)


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
    "cen/bottleneck": Runner(run=_bottleneck, idle=_statistics),
    "cen/conv_bn_exchange": Runner(run=_conv_exchange, idle=_statistics),
    "cen/exchange": Runner(run=_exchange),
}
