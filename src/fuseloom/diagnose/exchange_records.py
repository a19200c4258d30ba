"""What exchanges file of what they take from other modalities, and a model in which they take nothing."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from fuseloom.exchange.channel_exchange import ChannelExchange
from fuseloom.exchange.cls_exchange import ClsExchange
from fuseloom.exchange.feature_swap import FeatureSwap
from fuseloom.exchange.pixel_attention import PixelAttention
from fuseloom.exchange.token_exchange import TokenExchange
from fuseloom.part import zero_masked
from fuseloom.types import Streams

__all__ = [
    "MARKS",
    "Place",
    "apart",
    "channel_shares",
    "exchanging",
    "filing",
    "map_of_channels",
    "weights_of_others",
]

Place = tuple[str, str]
"""Layer and modality."""

MARKS = (".selected", ".swapped")
"""How the names of records of what is exchanged end."""
_GIVEN, _SELECTED = ".given", ".selected"
_PARTS = (ChannelExchange, ClsExchange, FeatureSwap, PixelAttention, TokenExchange)
_WEIGHT = re.compile(r"(?P<layer>.+)\.(?P<target>[^.]+)_from_(?P<source>[^.]+)")


def exchanging(module: nn.Module) -> list[nn.Module]:
    """The parts that say what they take from other modalities: tokens, channels, or weights of keys."""
    return [part for part in module.modules() if isinstance(part, _PARTS)]


@contextmanager
def filing(parts: Sequence[nn.Module], *, values: bool = False) -> Iterator[None]:
    """For a while exchanges file more beside what they file: which of their positions are real.

    Args:
        parts: As of `exchanging`.
        values: Have an exchange of channels file what it gives, too, which `map_of_channels` reads.
    """
    with ExitStack() as hooks:
        for part in parts:
            of_channels = isinstance(part, ChannelExchange)
            if values or not of_channels:
                file = _file_values if of_channels else _file_real
                hooks.callback(part.register_forward_hook(file, with_kwargs=True).remove)
        yield


@contextmanager
def apart(parts: Sequence[nn.Module]) -> Iterator[None]:
    """For a while exchanges give back what they got; those by a threshold what they normed or scaled."""
    by_threshold = (ChannelExchange, TokenExchange)
    thresholds = {part: part.threshold for part in parts if isinstance(part, by_threshold)}
    with ExitStack() as hooks:
        for part in parts:
            if part not in thresholds:
                hooks.callback(part.register_forward_hook(_as_given, with_kwargs=True).remove)
        try:
            for part in thresholds:
                part.threshold = 0.0
            yield
        finally:
            for part, threshold in thresholds.items():
                part.threshold = threshold


def channel_shares(records: Mapping[str, Tensor]) -> dict[Place, float]:
    """Share of the channels of each modality that are another's, which is one for all rows."""
    return {
        _place(key.removesuffix(_SELECTED)): float(value.double().mean())
        for key, value in records.items()
        if key.endswith(_SELECTED) and value.dim() == 1
    }


def weights_of_others(records: Mapping[str, Tensor]) -> dict[Place, tuple[Tensor, Tensor]]:
    """What the others' keys weigh ``[B, P]``, mean over heads, and which positions are real, the same."""
    found: dict[Place, tuple[Tensor, Tensor]] = {}
    for key, value in records.items():
        match = _WEIGHT.fullmatch(key)
        if match is None or match["source"] == match["target"]:
            continue
        place = match["layer"], match["target"]
        real = records.get(f"{place[0]}.{place[1]}.real")
        if real is not None:
            mean = value.double().mean(1).reshape(len(value), -1)
            before = found[place][0] if place in found else 0
            found[place] = mean + before, real.reshape(len(real), -1)
    return found


def map_of_channels(records: Mapping[str, Tensor]) -> dict[Place, Tensor]:
    """Share ``[B, h, w]`` of the squares of what a pixel holds that stands in another's channels."""
    found = {}
    for key, value in records.items():
        if key.endswith(_GIVEN) and value.dim() == 4:
            squares, stream = value.double().square(), key.removesuffix(_GIVEN)
            taken = squares[:, records[f"{stream}{_SELECTED}"]].sum(1)
            found[_place(stream)] = taken / squares.sum(1).clamp(min=1e-12)
    return found


def _place(stream: str) -> Place:
    layer, _, modality = stream.rpartition(".")
    return layer, modality


def _as_given(part: nn.Module, given: tuple[Any, ...], reads: Mapping[str, Any], streams: Streams) -> Streams:
    """What an exchange got, for a hook that puts it in the place of what it gives."""
    before, masks = given
    return {
        name: zero_masked(before[name], masks[name]) if masks.get(name) is not None else before[name]
        for name in streams
    }


def _file_real(part: nn.Module, given: tuple[Any, ...], reads: Mapping[str, Any], streams: Streams) -> None:
    _, masks = given
    trace = reads["trace"]
    for name, value in streams.items():
        shape = value.shape[2:] if value.dim() == 4 else value.shape[1:-1]
        mask = masks.get(name)
        real = value.new_ones(value.shape[0], *shape).bool() if mask is None else mask
        trace.scope(name).record("real", real)


def _file_values(part: nn.Module, given: tuple[Any, ...], reads: Mapping[str, Any], streams: Streams) -> None:
    for name, value in streams.items():
        reads["trace"].scope(name).record(_GIVEN.removeprefix("."), value)
