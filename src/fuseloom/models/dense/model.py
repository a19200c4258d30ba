"""The assembly for dense prediction: a backbone of many streams, one head for all of them, and their mean."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fuseloom.models.dense.ensemble import Ensemble
from fuseloom.models.dense.stream_encoder import StreamEncoder
from fuseloom.types import Masks, Streams, Trace

__all__ = ["DenseModel", "StreamDecoder"]


class StreamDecoder(nn.Module, ABC):
    """A head whose streams have norms of their own, and therefore know their names."""

    @abstractmethod
    def forward(self, stages: Sequence[Streams], there: Masks) -> Streams:
        """Maps of all streams after each stage, coarsest last, to predictions ``[B, K, H, W]`` of each.

        Args:
            stages: One per stage of the encoder.
            there: Name -> ``[B]``; a stream that is not in it is there in all samples.
        """


class DenseModel(nn.Module):
    """Every modality predicts by itself, through one head, and the mean of all is the prediction.

    Args:
        encoder: Maps to maps of several widths and strides, of the streams that it names.
        head: Maps after each stage, coarsest last, to a map of predictions: ``Sequence[[B, C, H, W]]``, and
            ``[B]`` where not all samples have the modality, to ``[B, K, H, W]``. It runs once per modality,
            so that statistics of a batch are those of one. Or a `StreamDecoder`, which runs once.
        ensemble: Of the streams of the encoder.
    """

    def __init__(self, encoder: StreamEncoder, head: nn.Module, ensemble: Ensemble) -> None:
        super().__init__()
        self.encoder, self.head, self.ensemble = encoder, head, ensemble

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        masks: Mapping[str, Tensor | None] | None = None,
        *,
        trace: Trace | None = None,
    ) -> Tensor:
        """Predictions of each stream, and last their mean, ``[B, M + 1, K, H, W]`` at the head's stride.

        Of a sample that lacks a stream, the mean stands where that stream would predict, so that a loss of
        all of them teaches nothing there.

        Args:
            inputs: As of `StreamEncoder`.
            masks: As of `StreamEncoder`.
            trace: Collects auxiliary losses and records.
        """
        stages, there = self.encoder(inputs, masks, trace=None if trace is None else trace.scope("encoder"))
        names = self.encoder.names
        parts: Streams
        if isinstance(self.head, StreamDecoder):
            parts = self.head(stages, there)
        else:
            parts = {name: self.head([stage[name] for stage in stages], there.get(name)) for name in names}
        mean = self.ensemble(parts, there)
        for name in parts.keys() & there.keys():
            parts[name] = torch.where(there[name][:, None, None, None], parts[name], mean.detach())
        return torch.stack([*parts.values(), mean], 1)
