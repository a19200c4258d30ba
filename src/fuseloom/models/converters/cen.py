"""Checkpoints of CEN for segmentation."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from fuseloom.errors import DataError
from fuseloom.models.converters._base import Converted, Converter
from fuseloom.models.converters._dense import as_scenes, pieces_of
from fuseloom.models.dense.cen import convert_cen_refinenet
from fuseloom.registry import register

__all__ = ["CenConverter"]

_LAYERS = "model.encoder.layers."


@register("cen")
@dataclass(frozen=True, kw_only=True)
class CenConverter(Converter):
    """CEN for segmentation: RefineNet on a ResNet of any depth; modalities rgb, depth.

    The sizes of all parts are read from the weights. As in the official code, the numbers of the second map
    are divided by 5,000 and nothing else.
    """

    paper = "Wang et al., 2020, arXiv:2011.05005"
    code = "yikaiw/CEN"

    size: str = "480x640"
    """To which scenes are brought."""
    threshold: float = 0.02
    """Scale below which a channel gives way."""
    divisor: float = 5000.0
    """Of the numbers of the second map."""

    def convert(self, state: Mapping[str, Tensor], modalities: Mapping[str, int | None]) -> Converted:
        names = [*modalities]
        pieces = pieces_of(state, lambda some: convert_cen_refinenet(some, names))
        found = {name: value for piece in pieces for name, value in piece.weights.items()}
        stem, classify = found.get("model.encoder.stem.weight"), found.get("model.head.classify.weight")
        if stem is None or classify is None:
            raise DataError("The checkpoint must be of a whole RefineNet, got one without its ends.")
        blocks = {tuple(n.removeprefix(_LAYERS).split(".")[:2]) for n in found if n.startswith(_LAYERS)}
        stages = sorted({stage for stage, _ in blocks})
        options = {
            "depths": [sum(stage == one for one, _ in blocks) for stage in stages],
            "dim": len(stem),
            "head_dim": classify.shape[1],
            "threshold": self.threshold,
            "faithful": True,
        }
        return as_scenes(pieces, names, fusion="cen", options=options, size=self.size, divisor=self.divisor)
