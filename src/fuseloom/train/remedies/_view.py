"""How a remedy sees a model: what each modality says alone, and the outputs without some of them."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.models.fusion import FusionModel
from fuseloom.nn import masked_mean
from fuseloom.types import Batch, Masks, Streams, Trace

__all__ = ["Encoded", "FusionView", "ModalityView", "view_of"]


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Rows behind the encoders, before the first modality meets another."""

    streams: Streams
    """Modality name -> embedding ``[B, D]``, tokens ``[B, N, D]`` or feature map ``[B, C, H, W]``."""
    masks: Masks
    """Those that are known; True where a value is real."""
    batch: Batch
    """The rows that were encoded."""

    def present(self, modality: str) -> Tensor:
        """Which rows have the modality at all, ``[B]``."""
        mask = self.masks.get(modality)
        if mask is None:
            value = self.streams[modality]
            return torch.ones(len(value), dtype=torch.bool, device=value.device)
        return mask.flatten(1).any(-1) if mask.dim() > 1 else mask

    def features(self, modality: str) -> Tensor:
        """One vector per row, ``[B, D]``: the mean of what is real."""
        value, mask = self.streams[modality], self.masks.get(modality)
        if value.dim() == 2:
            return value
        tokens = value.flatten(2).transpose(1, 2) if value.dim() == 4 else value
        return masked_mean(tokens, None if mask is None else mask.flatten(1))

    def without(self, modalities: Collection[str]) -> Self:
        """The same rows, in which these modalities are absent."""
        hidden = {name: self._nothing(name) for name in self.streams if name in modalities}
        return replace(self, masks={**self.masks, **hidden})

    def times(self, factors: Mapping[str, Tensor]) -> Self:
        """The same rows with streams multiplied by factors that are scalars or ``[B]``."""
        scaled = {name: _times(self.streams[name], factor) for name, factor in factors.items()}
        return replace(self, streams={**self.streams, **scaled})

    def _nothing(self, name: str) -> Tensor:
        value = self.streams[name]
        shape = {2: value.shape[:1], 3: value.shape[:2], 4: (len(value), *value.shape[2:])}[value.dim()]
        return torch.zeros(shape, dtype=torch.bool, device=value.device)


def _times(value: Tensor, factor: Tensor) -> Tensor:
    return value * (factor.view(-1, *[1] * (value.dim() - 1)) if factor.dim() else factor)


class ModalityView(ABC):
    """What a remedy asks of a model. For a model that is no `FusionModel`, write these methods.

    Its encoders run apart from what joins them, so that outputs without a modality cost no second encoding.
    """

    model: nn.Module
    """All of it: encoders and what joins them."""

    @property
    @abstractmethod
    def dims(self) -> Mapping[str, int]:
        """Modality name -> width of its features, in order."""

    @abstractmethod
    def encoder(self, modality: str) -> nn.Module:
        """What reads a modality, before it meets another."""

    @abstractmethod
    def encode(self, batch: Batch) -> Encoded:
        """Run the encoders."""

    @abstractmethod
    def fuse(self, encoded: Encoded, trace: Trace | None = None) -> Tensor:
        """Outputs ``[B, K]`` of what was encoded, doing without what is masked as absent."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names, in order."""
        return tuple(self.dims)

    def without(self, encoded: Encoded, modalities: Collection[str]) -> Encoded:
        """Rows in which some modalities are left out; by default masked as absent."""
        return encoded.without(modalities)

    def parameters(self, modality: str) -> list[nn.Parameter]:
        """Of a modality's encoder those that are trained."""
        return [value for value in self.encoder(modality).parameters() if value.requires_grad]


class FusionView(ModalityView):
    """A `FusionModel`: encoders until the first exchange, and all behind it.

    Args:
        model: It stays as it is.
    """

    model: FusionModel

    def __init__(self, model: FusionModel) -> None:
        self.model = model

    @property
    def dims(self) -> Mapping[str, int]:
        """Widths of the streams that meet first."""
        return self.model.dims_alone

    def encoder(self, modality: str) -> nn.Module:
        """Whole, also the stages behind an exchange."""
        return self.model.encoders[modality]

    def encode(self, batch: Batch) -> Encoded:
        """Streams before the first exchange."""
        streams, masks = self.model.encode_alone(batch.inputs, batch.masks)
        return Encoded(streams=streams, masks=masks, batch=batch)

    def fuse(self, encoded: Encoded, trace: Trace | None = None) -> Tensor:
        """The rest of the model."""
        reads = encoded.batch.reads(self.model.reads)
        masks = encoded.masks
        streams, masks = self.model.encode_together(encoded.streams, masks, trace=trace, **reads)
        return self.model.fuse(streams, masks, trace=trace)


def view_of(model: nn.Module) -> ModalityView:
    """The view of a `FusionModel`, or of the only one inside a model.

    Raises:
        OptionError: there is none, or several.
    """
    found = [part for part in model.modules() if isinstance(part, FusionModel)]
    if len(found) != 1:
        raise OptionError(
            f"model must have one FusionModel, got {len(found)} in {type(model).__name__}. Give a "
            "ModalityView of it."
        )
    return FusionView(found[0])
