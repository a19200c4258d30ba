"""TokenFusion for image translation by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from fuseloom.models.dense.ensemble import Weighting
from fuseloom.models.dense.mit import MitSize
from fuseloom.models.dense.model import DenseModel
from fuseloom.models.dense.sizes import SMALL_MIT, mit_size
from fuseloom.models.dense.stream_encoder import shared_channels
from fuseloom.models.dense.token_translation import MitDiscriminator, tokenfusion_translation
from fuseloom.models.picture_systems._base import PictureSystem, placed_exchange
from fuseloom.registry import Card, register

__all__ = ["TokenFusionTranslationSystem"]

_SMALL = replace(SMALL_MIT, stem=(3, 2))
"""Makes pictures as large as the maps."""


@register("tokenfusion_translation")
@dataclass(frozen=True, kw_only=True)
class TokenFusionTranslationSystem(PictureSystem):
    """TokenFusion's generator and judge, see `tokenfusion_translation`; any exchange may stand in it.

    With ``exchange: pixel_attention`` it is our assembly of GeminiFusion, whose numbers of translation are
    published without code: unverified.

    Paper: Wang et al., 2022, arXiv:2204.08721.

    Raises:
        OptionError: an option that is out of its range.
        UnknownNameError: there is no such exchange.
    """

    card = Card(
        summary="Streams of one transformer there and back, whose tokens of low score give way.",
        interaction="nonlinear",
        cost="that of two backbones per modality",
        parameters="norms and predictors of scores per modality",
        arity=(1, None),
        paper="Wang et al., 2022, CVPR",
        differs="The judge learns in the same step as the streams.",
    )

    size: str | Mapping[str, Any] = "b2"
    """``b0`` to ``b3``, ``small``, or its numbers."""
    exchange: str = "token_exchange"
    """Name of what stands in the last block of each stage of the encoder; none where it is empty."""
    exchange_options: Mapping[str, Any] = field(default_factory=dict)
    weighting: Weighting = "learned"
    drop_path: float = 0.1
    checkpointing: bool = False
    """Whether blocks of the encoder are evaluated again in the backward pass, for memory."""

    def build(self, channels: Mapping[str, int], out_channels: int, *, dropout: float) -> DenseModel:
        return tokenfusion_translation(
            channels,
            out_channels,
            size=self._size(),
            exchange=placed_exchange(self.exchange, self.exchange_options),
            weighting=self.weighting,
            drop_path=self.drop_path,
            checkpointing=self.checkpointing,
        )

    def build_judge(self, channels: Mapping[str, int], out_channels: int) -> nn.Module | None:
        if not self.judge:
            return None
        wide = dict.fromkeys(channels, shared_channels(channels))
        return MitDiscriminator(wide, out_channels, size=self._size(), drop_path=self.drop_path)

    def _size(self) -> str | MitSize:
        return _SMALL if self.size == "small" else mit_size(self.size)
