"""One head for the maps of all streams, side by side."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fuseloom.heads.segformer import SegformerHead
from fuseloom.models.dense.model import StreamDecoder
from fuseloom.part import zero_masked
from fuseloom.types import Masks, Streams

__all__ = ["JoinedDecoder"]

_FUSED = "fused"


class JoinedDecoder(StreamDecoder):
    """SegFormer's head on the channels of all streams; what a sample lacks is zero in them.

    Args:
        names: Of the streams.
        dims: Width of each stream after each stage.
        num_labels: ``K``.
        dim: Width of the head.
        dropout: Before the labels are told.

    Example:
        >>> decoder = JoinedDecoder(["rgb", "depth"], (4, 8), 5, dim=8)
        >>> fine, coarse = torch.zeros(2, 4, 6, 6), torch.zeros(2, 8, 3, 3)
        >>> stages = [{"rgb": fine, "depth": fine}, {"rgb": coarse, "depth": coarse}]
        >>> decoder(stages, {})["fused"].shape
        torch.Size([2, 5, 6, 6])
    """

    outputs = (_FUSED,)
    """What it predicts, as streams are named."""

    def __init__(
        self, names: Sequence[str], dims: Sequence[int], num_labels: int, *, dim: int, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        self.head = SegformerHead([len(names) * own for own in dims], num_labels, dim=dim, dropout=dropout)

    def forward(self, stages: Sequence[Streams], there: Masks) -> Streams:
        return {_FUSED: self.head([self._joined(stage, there) for stage in stages])}

    def _joined(self, stage: Streams, there: Masks) -> Tensor:
        parts = [
            zero_masked(stage[name], there[name][:, None, None].expand(-1, *stage[name].shape[2:]))
            if name in there
            else stage[name]
            for name in self.names
        ]
        return torch.cat(parts, 1)
