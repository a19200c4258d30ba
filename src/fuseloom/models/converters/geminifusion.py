"""Checkpoints of GeminiFusion on Mix Transformers."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from fuseloom.errors import ModalityError
from fuseloom.models.converters._base import Converted, Converter
from fuseloom.models.converters._dense import as_scenes, mit_numbers, pieces_of
from fuseloom.models.dense.geminifusion import convert_geminifusion_mit
from fuseloom.registry import register

__all__ = ["GeminiFusionConverter"]

_ENCODER = "model.encoder."


@register("geminifusion")
@dataclass(frozen=True, kw_only=True)
class GeminiFusionConverter(Converter):
    """GeminiFusion for segmentation on a Mix Transformer of any size; modalities rgb, depth.

    The sizes of all parts are read from the weights. As in the official code, the numbers of the second map
    are divided by 255 and nothing else.
    """

    paper = "Jia et al., 2024, arXiv:2406.01210"
    code = "JiaDingCN/GeminiFusion"

    size: str = "480x640"
    """To which scenes are brought."""
    num_heads: int = 8
    """Of pixel attention."""
    backbone_heads: tuple[int, ...] = (1, 2, 5, 8)
    """Of the attention in each stage of the backbone."""
    divisor: float = 255.0
    """Of the numbers of the second map."""

    def convert(self, state: Mapping[str, Tensor], modalities: Mapping[str, int | None]) -> Converted:
        names = [*modalities]
        if len(names) != 2:
            raise ModalityError(f"geminifusion must have two modalities, such as rgb and depth, got {names}.")
        pieces = pieces_of(state, lambda some: convert_geminifusion_mit(some, names))
        found = {name: value for piece in pieces for name, value in piece.weights.items()}
        encoder = {n.removeprefix(_ENCODER): v for n, v in found.items() if n.startswith(_ENCODER)}
        join = found.get("model.head.join.weight")
        options = {
            "size": mit_numbers(encoder, self.backbone_heads),
            "num_heads": self.num_heads,
            "head_dim": 256 if join is None else len(join),
            "weighting": "frozen",
            "faithful": True,
        }
        return as_scenes(
            pieces, names, fusion="geminifusion", options=options, size=self.size, divisor=self.divisor
        )
