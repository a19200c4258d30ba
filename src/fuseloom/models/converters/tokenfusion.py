"""Checkpoints of TokenFusion for segmentation."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from fuseloom.models.converters._base import Converted, Converter
from fuseloom.models.converters._dense import as_scenes, mit_numbers, pieces_of
from fuseloom.models.dense.tokenfusion import convert_tokenfusion_mit
from fuseloom.registry import register

__all__ = ["TokenFusionConverter"]

_ENCODER = "model.encoder."


@register("tokenfusion")
@dataclass(frozen=True, kw_only=True)
class TokenFusionConverter(Converter):
    """TokenFusion for segmentation on a Mix Transformer of any size; modalities rgb, depth.

    The sizes of all parts are read from the weights. As in the official code, the numbers of the second map
    are divided by 5,000 and nothing else.
    """

    paper = "Wang et al., 2022, arXiv:2204.08721"
    code = "yikaiw/TokenFusion"

    size: str = "480x640"
    """To which scenes are brought."""
    threshold: float = 0.02
    """Score below which a token gives way."""
    backbone_heads: tuple[int, ...] = (1, 2, 5, 8)
    """Of the attention in each stage of the backbone."""
    divisor: float = 5000.0
    """Of the numbers of the second map."""

    def convert(self, state: Mapping[str, Tensor], modalities: Mapping[str, int | None]) -> Converted:
        names = [*modalities]
        pieces = pieces_of(state, lambda some: convert_tokenfusion_mit(some, names))
        found = {name: value for piece in pieces for name, value in piece.weights.items()}
        encoder = {n.removeprefix(_ENCODER): v for n, v in found.items() if n.startswith(_ENCODER)}
        join = found.get("model.head.join.weight")
        options = {
            "size": mit_numbers(encoder, self.backbone_heads),
            "threshold": self.threshold,
            "head_dim": 256 if join is None else len(join),
            "weighting": "frozen",
        }
        return as_scenes(
            pieces, names, fusion="tokenfusion", options=options, size=self.size, divisor=self.divisor
        )
