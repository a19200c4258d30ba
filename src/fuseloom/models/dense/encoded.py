"""Encoders that give maps, one per modality, as a backbone of many streams with exchanges between stages."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fuseloom.encoders import Encoder
from fuseloom.encoders.timm import TimmEncoder
from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange import Exchange
from fuseloom.models.dense.stage_gate import StageGate
from fuseloom.models.dense.stream_encoder import StreamEncoder
from fuseloom.types import Masks, Streams, Trace

__all__ = ["EncodedStreams", "timm_streams"]

_STRIDES = (4, 8, 16, 32)


class EncodedStreams(StreamEncoder):
    """One encoder per modality, run stage by stage; behind any stage the maps may be exchanged.

    With a gate, a sample is exchanged behind the first few of these stages only, or in part. Nothing is
    shared unless one encoder is given under several names: then its weights and its norms are.

    Args:
        encoders: Modality name -> encoder whose stages all give maps ``[B, C, H, W]`` of one grid.
        channels: Modality name -> channels of its map.
        strides: How many pixels of the input lie between two of a map, after each stage.
        exchanges: Stage -> exchange that stands behind it; negative numbers count from the last.
        gate: Says, from the maps after the first stage, how open each exchange is to a sample.

    Raises:
        ModalityError: encoders, channels, an exchange or the gate are of other modalities, or of other
            widths.
        OptionError: encoders of different numbers of stages, no such stage, or a gate of other exchanges.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        channels: Mapping[str, int],
        *,
        strides: Sequence[int],
        exchanges: Mapping[int, Exchange] | None = None,
        gate: StageGate | None = None,
    ) -> None:
        if encoders.keys() != channels.keys():
            raise ModalityError(f"channels must be of {sorted(encoders)}, got {sorted(channels)}.")
        widths = {name: encoder.dims for name, encoder in encoders.items()}
        dims = next(iter(widths.values()))
        if any(len(own) != len(dims) for own in widths.values()):
            counts = {name: len(own) for name, own in widths.items()}
            raise OptionError(
                f"Encoders must have as many stages as one another, got {counts}. Shorten some."
            )
        super().__init__(channels, dims, strides)
        self.encoders = nn.ModuleDict({name: encoders[name] for name in self.channels})
        self.exchanges = nn.ModuleDict()
        for stage, exchange in (exchanges or {}).items():
            if not -len(dims) <= stage < len(dims):
                raise OptionError(f"exchanges must stand behind stages 0 to {len(dims) - 1}, got {stage}.")
            there = {name: own[stage] for name, own in widths.items()}
            if exchange.dims != there:
                raise ModalityError(
                    f"The exchange behind stage {stage} must be for {there}, got {exchange.dims}."
                )
            self.exchanges[str(stage % len(dims))] = exchange
        self.gate = gate
        if gate is not None:
            _check_gate(gate, {name: own[0] for name, own in widths.items()}, len(self.exchanges))

    def run(self, streams: Streams, there: Masks, *, trace: Trace | None) -> list[Streams]:
        found: list[Streams] = []
        masks: dict[str, Tensor | None] = {name: there.get(name) for name in streams}
        opened: Tensor | None = None
        for stage in range(len(self.dims)):
            for name, encoder in self.encoders.items():
                assert isinstance(encoder, Encoder)
                value, masks[name] = encoder.run_stage(stage, streams[name], masks[name])
                streams = {**streams, name: value}
            if stage == 0 and self.gate is not None:
                opened = self.gate.opened(self.gate(streams, trace=_scoped(trace, "gate")))
            if (key := str(stage)) in self.exchanges:
                after = self.exchanges[key](streams, masks, trace=_scoped(trace, f"exchange.{key}"))
                streams = after if opened is None else _mixed(streams, after, opened[:, self._place(key)])
            found.append(streams)
        return found

    def _place(self, key: str) -> int:
        """Of an exchange among those in the order of their stages."""
        return sorted(map(int, self.exchanges)).index(int(key))


def _scoped(trace: Trace | None, name: str) -> Trace | None:
    return None if trace is None else trace.scope(name)


def _mixed(before: Streams, after: Streams, share: Tensor) -> Streams:
    """Streams of which each sample has a share ``[B]`` of what an exchange made of them."""
    return {name: torch.lerp(own, after[name], share[:, None, None, None]) for name, own in before.items()}


def _check_gate(gate: StageGate, dims: Mapping[str, int], num_exchanges: int) -> None:
    if gate.dims != dims:
        raise ModalityError(f"The gate must be for {dict(dims)}, got {gate.dims}.")
    if gate.num_routes != num_exchanges + 1:
        raise OptionError(
            f"The gate must have one route more than there are exchanges, {num_exchanges + 1}, got "
            f"{gate.num_routes}."
        )


def timm_streams(
    model: str,
    channels: Mapping[str, int],
    *,
    pretrained: bool = True,
    exchanges: Mapping[int, Exchange] | None = None,
    gate: StageGate | None = None,
    strides: Sequence[int] = _STRIDES,
) -> EncodedStreams:
    """A vision model of timm for each modality, of the families that `TimmEncoder` divides into four stages.

    Args:
        model: As of `TimmEncoder`.
        channels: Modality name -> 1 or 3.
        pretrained: Whether its weights are loaded, into each.
        exchanges: Stage -> exchange that stands behind it.
        gate: As of `EncodedStreams`.
        strides: Of the model.

    Raises:
        ModalityError: as of `EncodedStreams`.
        OptionError: the model is not divided, or as of `EncodedStreams`.

    Example:
        >>> import torch
        >>> from fuseloom import create
        >>> talk = create("pixel_attention", {"rgb": 32, "depth": 32})
        >>> net = timm_streams("test_resnet", {"rgb": 3, "depth": 1}, pretrained=False, exchanges={0: talk})
        >>> stages, _ = net({"rgb": torch.zeros(1, 3, 64, 96), "depth": torch.zeros(1, 1, 64, 96)})
        >>> [tuple(stage["depth"].shape) for stage in stages]
        [(1, 32, 16, 24), (1, 48, 8, 12), (1, 192, 4, 6), (1, 96, 2, 3)]
    """
    encoders = {name: TimmEncoder(model, pretrained=pretrained, output="map") for name in channels}
    kept = {name: encoder.shorten(len(encoder.stages) - 1) for name, encoder in encoders.items()}
    return EncodedStreams(kept, channels, strides=strides, exchanges=exchanges, gate=gate)
