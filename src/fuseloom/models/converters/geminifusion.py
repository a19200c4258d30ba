"""Checkpoints of GeminiFusion for segmentation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fuseloom.errors import ModalityError
from fuseloom.models.converters._base import Converted, Converter
from fuseloom.models.converters._dense import as_scenes, mit_numbers, pieces_of, swin_numbers
from fuseloom.models.dense.geminifusion import (
    convert_geminifusion_deliver,
    convert_geminifusion_mit,
    convert_geminifusion_swin,
)
from fuseloom.registry import register

__all__ = ["GeminiFusionConverter"]

_ENCODER = "model.encoder."
_DELIVER, _SWIN = "backbone.", "encoder.body."
_CHANNELS = 3
"""Of every picture of DeLiVER."""

Convert = Callable[[Mapping[str, Tensor], Sequence[str]], dict[str, Tensor]]


@register("geminifusion")
@dataclass(frozen=True, kw_only=True)
class GeminiFusionConverter(Converter):
    """GeminiFusion for segmentation, on a Mix or Swin Transformer of any size; modalities rgb, depth.

    Or of the branch for DeLiVER; modalities rgb and up to three of hha, event and lidar, in this order, of
    three channels each. The sizes of all parts are read from the weights. As in the official code, numbers of
    all maps but the first are divided by 255 and nothing else.
    """

    paper = "Jia et al., 2024, arXiv:2406.01210"
    code = "JiaDingCN/GeminiFusion"

    size: str = "480x640"
    """To which scenes are brought; the published runs on DeLiVER have 1024x1024."""
    num_heads: int = 8
    """Of pixel attention."""
    backbone_heads: tuple[int, ...] = (1, 2, 5, 8)
    """Of the attention in each stage of a Mix Transformer."""
    divisor: float = 255.0
    """Of the numbers of all maps but the first."""

    def convert(self, state: Mapping[str, Tensor], modalities: Mapping[str, int | None]) -> Converted:
        names = [*modalities]
        is_deliver = any(name.startswith(_DELIVER) for name in state)
        is_swin = any(name.startswith(_SWIN) for name in state)
        if len(names) < 2 or (len(names) > 2 and not is_deliver):
            many = "two modalities at least" if is_deliver else "two modalities"
            raise ModalityError(f"geminifusion must have {many}, such as rgb and depth, got {names}.")
        own: Convert = convert_geminifusion_swin if is_swin else convert_geminifusion_mit
        own = convert_geminifusion_deliver if is_deliver else own
        pieces = pieces_of(state, lambda some: own(some, names))
        found = {name: value for piece in pieces for name, value in piece.weights.items()}
        encoder = {n.removeprefix(_ENCODER): v for n, v in found.items() if n.startswith(_ENCODER)}
        join = found.get("model.head.join.weight")
        options: dict[str, Any] = {
            "backbone": "swin" if is_swin else "mit",
            "size": swin_numbers(encoder) if is_swin else mit_numbers(encoder, self.backbone_heads),
            "num_heads": self.num_heads,
            "collapse": len(names) > 2,
            "head_dim": 256 if join is None else len(join),
            "weighting": "learned" if is_deliver else "frozen",
            "faithful": True,
        }
        return as_scenes(
            pieces,
            names,
            fusion="geminifusion",
            options=options,
            size=self.size,
            divisor=self.divisor,
            channels=_CHANNELS if is_deliver else 1,
        )
