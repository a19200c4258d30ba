"""The door of every fusion part: its dims are checked at construction, its streams once per forward."""

import re
from abc import ABC
from collections.abc import Mapping
from functools import reduce
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fuseloom.errors import MaskError, ModalityError, OptionError, did_you_mean
from fuseloom.registry import Card, Rank
from fuseloom.types import Masks, Streams

__all__ = ["Part", "Staged", "check_dims", "zero_masked"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_RESERVED = frozenset(dir(nn.ModuleDict())) | frozenset(dir(nn.ParameterDict()))
_RANKS: dict[int, Rank] = {2: "embedding", 3: "tokens", 4: "feature_map"}


class Part(nn.Module, ABC):
    """What exchanges and merges share: dims, card, checks and the zeroing of masked values.

    Args:
        dims: Modality name -> width of its stream.

    Raises:
        ModalityError: a name that cannot be used, a width below one, or too few or too many modalities.
    """

    kind: ClassVar[str]
    name: ClassVar[str] = ""
    card: Card
    """Claims of the class; an instance whose options change one has its own."""

    def __init__(self, dims: Mapping[str, int]) -> None:
        super().__init__()
        self.dims = check_dims(dims, self.card.arity, owner=type(self).__name__)

    def enter(
        self, streams: Mapping[str, Tensor], masks: Mapping[str, Tensor | None] | None
    ) -> tuple[Streams, Masks]:
        """Check names, ranks, widths, types and masks, and zero what is masked; reads no value.

        Returns:
            The streams in the order of ``dims``, in one dtype (the parameters', else the streams' promoted),
            zero under False, and the masks that were given.
        """
        if streams.keys() != self.dims.keys():
            raise _wrong_names(streams, self.dims)
        ordered = {name: streams[name] for name in self.dims}
        self._check_streams(ordered)
        kept = self._checked_masks(ordered, masks) if masks is not None else {}
        dtype = self._dtype(ordered)
        for name, value in ordered.items():
            real = zero_masked(value, kept[name]) if name in kept else value
            ordered[name] = real if real.dtype == dtype else real.to(dtype)
        return ordered, kept

    def _dtype(self, streams: Streams) -> torch.dtype:
        if (parameter := next(self.parameters(), None)) is not None:
            return parameter.dtype
        return reduce(torch.promote_types, (value.dtype for value in streams.values()))

    def check_reads(self, reads: Mapping[str, Any]) -> None:
        """Refuse a keyword that the card does not name under ``reads``.

        Raises:
            OptionError: an unknown keyword.
        """
        if unknown := sorted(reads.keys() - set(self.card.reads)):
            hint = did_you_mean(unknown[0], self.card.reads)
            raise OptionError(f"{type(self).__name__} does not read {unknown[0]!r}.{hint}")

    def _check_streams(self, streams: Streams) -> None:
        batch = next(iter(streams.values())).shape[0] if streams else 0
        for name, value in streams.items():
            rank = _RANKS.get(value.dim())
            if rank not in self.card.ranks:
                raise ModalityError(
                    f"{name!r} must be {' or '.join(map(_describe, self.card.ranks))}, got shape "
                    f"{tuple(value.shape)}."
                )
            width = value.shape[1] if rank == "feature_map" else value.shape[-1]
            if width != self.dims[name]:
                raise ModalityError(
                    f"{name!r} must have width {self.dims[name]}, got shape {tuple(value.shape)}."
                )
            if value.shape[0] != batch:
                raise ModalityError(
                    f"{name!r} must have {batch} samples like {next(iter(streams))!r}, got {value.shape[0]}."
                )
            if not value.is_floating_point():
                raise ModalityError(f"{name!r} must be floating, got {value.dtype}. Encode it first.")

    def _checked_masks(self, streams: Streams, masks: Mapping[str, Tensor | None]) -> Masks:
        given = {name: mask for name, mask in masks.items() if mask is not None}
        for name, mask in given.items():
            if name not in streams:
                raise MaskError(f"Mask of unknown modality {name!r}.{did_you_mean(name, streams)}")
            value = streams[name]
            expected = (value.shape[0], *value.shape[2:]) if value.dim() == 4 else tuple(value.shape[:-1])
            if mask.dtype != torch.bool or tuple(mask.shape) != expected:
                raise MaskError(
                    f"Mask of {name!r} must be bool of shape {expected} (True = real), got {mask.dtype} of "
                    f"shape {tuple(mask.shape)}."
                )
        return {name: given[name] for name in streams if name in given}


@runtime_checkable
class Staged(Protocol):
    """A part whose terms can be fitted one after another, each on what those before it leave."""

    @property
    def num_stages(self) -> int:
        """How many there are."""
        ...

    def focus(self, stage: int | None) -> None:
        """Predict with the terms up to a stage (from 0) and train only its own; None: all of both."""
        ...


def check_dims(dims: Mapping[Any, Any], arity: tuple[int, int | None], *, owner: str) -> dict[str, int]:
    """Copy ``dims`` after checking names, widths and their number.

    Raises:
        ModalityError: as for `Part`.
        OptionError: ``dims`` is no mapping of names to widths.
    """
    if not isinstance(dims, Mapping):
        raise OptionError(f"dims must map modality names to widths, got {type(dims).__name__}.")
    for name, width in dims.items():
        _check_name(name)
        if not isinstance(width, int) or isinstance(width, bool) or width < 1:
            raise ModalityError(f"Width of {name!r} must be a positive int, got {width!r}.")
    low, high = arity
    if len(dims) < low or (high is not None and len(dims) > high):
        many = f"exactly {low}" if low == high else f"at least {low}" if high is None else f"{low} to {high}"
        raise ModalityError(f"{owner} must have {many} modalities, got {len(dims)}: {sorted(dims)}.")
    return dict(dims)


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ModalityError(
            f"Modality name must be a letter followed by letters, digits, '_' or '-', got {name!r}."
        )
    if name in _RESERVED or "_from_" in name:
        reason = "contains '_from_'" if "_from_" in name else "is an attribute of torch's containers"
        raise ModalityError(
            f"Modality name must be free for use in a state dict, got {name!r}, which {reason}. Rename it."
        )


def zero_masked(value: Tensor, mask: Tensor) -> Tensor:
    """Zero a value ``[B, ..., D]`` or feature map ``[B, C, H, W]`` where its mask is False."""
    # masked_fill rather than a product: NaN times zero is NaN, in the value and in its gradient.
    return value.masked_fill(~mask.unsqueeze(1 if value.dim() == 4 else -1), 0)


def _describe(rank: Rank) -> str:
    return {"embedding": "[B, D]", "tokens": "[B, N, D]", "feature_map": "[B, C, H, W]"}[rank]


def _wrong_names(streams: Mapping[str, Tensor], dims: Mapping[str, int]) -> ModalityError:
    if missing := sorted(dims.keys() - streams.keys()):
        return ModalityError(
            f"Missing modality {missing}; got {sorted(streams)}. For samples without it pass zeros and "
            "a mask that is False."
        )
    unknown = sorted(streams.keys() - dims.keys())
    return ModalityError(f"Unknown modality {unknown}.{did_you_mean(unknown[0], dims)}")
