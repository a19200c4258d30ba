"""CEN for image translation by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from fuseloom.models.dense.cen_translation import PatchDiscriminator, cen_translation
from fuseloom.models.dense.ensemble import Weighting
from fuseloom.models.dense.model import DenseModel
from fuseloom.models.dense.stream_encoder import shared_channels
from fuseloom.models.picture_systems._base import PictureSystem, placed_exchange
from fuseloom.registry import Card, register

__all__ = ["CenTranslationSystem"]


@register("cen_translation")
@dataclass(frozen=True, kw_only=True)
class CenTranslationSystem(PictureSystem):
    """CEN's generator and judge, see `cen_translation`; any exchange of the library may stand in it.

    Paper: Wang et al., 2020, arXiv:2011.05005.

    Raises:
        OptionError: an option that is out of its range.
        UnknownNameError: there is no such exchange.
    """

    card = Card(
        summary="Streams of one U-Net, whose channels of small scale give way, make a picture each.",
        interaction="nonlinear",
        cost="that of a U-Net per modality",
        parameters="norms per modality",
        arity=(1, None),
        paper="Wang et al., 2020, NeurIPS",
        differs="The judge learns in the same step as the streams, and dropout is off in evaluation.",
    )

    dim: int = 64
    """Width of the first map; it doubles up to eight times as much."""
    depth: int = 8
    """How often maps are halved: 8 for 256 x 256 pixels, 6 for 64 x 64."""
    exchange: str = "channel_exchange"
    """Name of what stands behind each norm of the encoder; none where it is empty."""
    exchange_options: Mapping[str, Any] = field(default_factory=lambda: {"norm": None, "threshold": 0.01})
    weighting: Weighting = "learned"

    def build(self, channels: Mapping[str, int], out_channels: int, *, dropout: float) -> DenseModel:
        return cen_translation(
            channels,
            out_channels,
            dim=self.dim,
            depth=self.depth,
            exchange=placed_exchange(self.exchange, self.exchange_options),
            weighting=self.weighting,
            dropout=dropout,
        )

    def build_judge(self, channels: Mapping[str, int], out_channels: int) -> nn.Module | None:
        if not self.judge:
            return None
        return PatchDiscriminator(shared_channels(channels), out_channels, dim=self.dim)
