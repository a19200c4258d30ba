"""Heads: a fused value becomes the outputs of a task."""

from fuseloom.heads._base import PositionHead
from fuseloom.heads.coupled_tagging import CoupledTaggingHead
from fuseloom.heads.linear import LinearHead
from fuseloom.heads.refinenet import RefineNetHead
from fuseloom.heads.segformer import SegformerHead
from fuseloom.heads.tagging import TaggingHead

__all__ = [
    "CoupledTaggingHead",
    "LinearHead",
    "PositionHead",
    "RefineNetHead",
    "SegformerHead",
    "TaggingHead",
]
