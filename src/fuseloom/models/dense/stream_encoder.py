"""The contract of a backbone that several maps of one scene run through, together."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from fuseloom.errors import MaskError, ModalityError, OptionError, did_you_mean
from fuseloom.exchange import Exchange
from fuseloom.part import check_dims, zero_masked
from fuseloom.types import Masks, Streams, Trace

__all__ = [
    "BuildExchange",
    "StreamEncoder",
    "norm_owners",
    "over_positions",
    "run_shared",
    "shared_channels",
]

BuildExchange = Callable[[Mapping[str, int]], Exchange]
"""From modality name -> width to the exchange that stands there."""


class StreamEncoder(nn.Module, ABC):
    """Maps that share their pixels, through one backbone of shared weights, with exchanges inside.

    What is not shared, such as norms, has a part per modality. Streams run as one batch. A modality that a
    sample lacks is zero, gives nothing to the others, and is not there in what comes out.

    Args:
        channels: Modality name -> channels of its map.
        dims: Width after each stage.
        strides: How many pixels of the input lie between two of a map, after each stage.

    Raises:
        ModalityError: a name that cannot be used, or no channels.
        OptionError: not one stride for each width.
    """

    def __init__(self, channels: Mapping[str, int], dims: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.channels = check_dims(channels, (1, None), owner=type(self).__name__)
        if len(dims) != len(strides):
            raise OptionError(f"strides must be one for each of {len(dims)} stages, got {len(strides)}.")
        self.dims, self.strides = tuple(dims), tuple(strides)
        self.names = tuple(self.channels)
        """Of the streams that come out; an encoder may make one of several modalities."""

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        masks: Mapping[str, Tensor | None] | None = None,
        *,
        trace: Trace | None = None,
    ) -> tuple[list[Streams], Masks]:
        """Maps after each stage, ``[B, C, H, W]`` of each modality, and which samples have it.

        Args:
            inputs: Modality name -> ``[B, C, H, W]``; some may be left out, not all.
            masks: Modality name -> ``[B, H, W]``, True = real; a sample of which no pixel is real lacks the
                modality. What is under False may be anything.
            trace: Collects auxiliary losses and records of the exchanges.

        Returns:
            Streams ``names`` for each stage, which are the modalities if nothing else is said, and name ->
            ``[B]``, True where it is there, for those that not all samples are known to have.

        Raises:
            ModalityError: no or unknown inputs, or maps of different sizes or other channels.
            MaskError: a mask that does not fit its map.
        """
        streams, there = self._enter(inputs, masks or {})
        return self.run(streams, there, trace=trace), self.leaving(there)

    def leaving(self, there: Masks) -> Masks:
        """Which samples have the streams that come out, from which have the modalities."""
        return there

    @abstractmethod
    def run(self, streams: Streams, there: Masks, *, trace: Trace | None) -> list[Streams]:
        """Maps after each stage, from checked maps in the order of ``channels``, zero where masked.

        Args:
            streams: Of all modalities.
            there: Modality name -> ``[B]``; one that is not in it is there in all samples.
            trace: As of `forward`.
        """

    def _enter(
        self, inputs: Mapping[str, Tensor], masks: Mapping[str, Tensor | None]
    ) -> tuple[Streams, Masks]:
        if unknown := sorted({*inputs, *masks} - self.channels.keys()):
            hint = did_you_mean(unknown[0], self.channels)
            raise ModalityError(f"Maps must be of {sorted(self.channels)}, got {unknown[0]!r}.{hint}")
        first = next(iter(inputs.values()), None)
        if first is None:
            raise ModalityError(f"There must be a map of {sorted(self.channels)} at least, got none.")
        if first.dim() != 4:
            raise ModalityError(f"Maps must be [B, C, H, W], got shape {tuple(first.shape)}.")
        batch, _, *size = first.shape
        streams: Streams = {}
        there: Masks = {}
        for name, count in self.channels.items():
            if name not in inputs:
                streams[name] = first.new_zeros(batch, count, *size)
                there[name] = first.new_zeros(batch, dtype=torch.bool)
                continue
            streams[name] = _checked(name, inputs[name], (batch, count, *size))
            if (mask := masks.get(name)) is not None:
                streams[name] = zero_masked(streams[name], _checked_mask(name, mask, (batch, *size)))
                there[name] = mask.flatten(1).any(1)
        return streams, there


def _checked(name: str, value: Tensor, expected: tuple[int, ...]) -> Tensor:
    if tuple(value.shape) != expected:
        raise ModalityError(
            f"{name!r} must have shape {expected} like the others, got {tuple(value.shape)}. Resize all maps "
            "to one grid."
        )
    return value


def _checked_mask(name: str, mask: Tensor, expected: tuple[int, ...]) -> Tensor:
    if mask.dtype != torch.bool or tuple(mask.shape) != expected:
        raise MaskError(
            f"Mask of {name!r} must be bool of shape {expected} (True = real), got {mask.dtype} of shape "
            f"{tuple(mask.shape)}."
        )
    return mask


def run_shared(module: Callable[[Tensor], Tensor], streams: Streams) -> Streams:
    """What a module makes of each stream, as one batch; streams of one shape.

    Example:
        >>> found = run_shared(torch.neg, {"rgb": torch.ones(2, 3), "depth": torch.zeros(2, 3)})
        >>> found["rgb"].tolist()
        [[-1.0, -1.0, -1.0], [-1.0, -1.0, -1.0]]
    """
    if len(streams) == 1:
        return {name: module(value) for name, value in streams.items()}
    batch = next(iter(streams.values())).shape[0]
    # Not chunks, which an exported graph would have of one size only.
    found = module(torch.cat([*streams.values()]))
    parts = found.view(len(streams), batch, *found.shape[1:]).unbind()
    return dict(zip(streams, parts, strict=True))


def shared_channels(channels: Mapping[str, int]) -> int:
    """How many channels a stem that all maps share reads; a map of one channel is repeated.

    Raises:
        ModalityError: maps of several numbers of channels.
    """
    most = max(channels.values())
    if other := sorted({*channels.values()} - {1, most}):
        raise ModalityError(
            f"All maps must have {most} channels or 1, as they share the stem, got {other[0]}."
        )
    return most


def norm_owners(names: Iterable[str], *, shared: bool) -> list[str]:
    """Under which names the norms of streams are: those of the streams, or one for all of them.

    Example:
        >>> norm_owners(["rgb", "depth"], shared=False), norm_owners(["rgb", "depth"], shared=True)
        (['rgb', 'depth'], ['shared'])
    """
    found = list(names)
    return ["shared"] if shared and found else found


def over_positions(there: Masks, streams: Streams, *, feature: int) -> Masks:
    """``[B]`` to the masks of streams, whose features stand on the axis ``feature``.

    Example:
        >>> masks = over_positions({"rgb": torch.ones(2).bool()}, {"rgb": torch.ones(2, 5, 8)}, feature=2)
        >>> masks["rgb"].shape
        torch.Size([2, 5])
    """
    expanded: Masks = {}
    for name, real in there.items():
        shape = [size for axis, size in enumerate(streams[name].shape) if axis != feature]
        expanded[name] = real.reshape(-1, *[1] * (len(shape) - 1)).expand(shape)
    return expanded
