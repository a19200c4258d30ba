"""MuSE as its authors ran it, by name: what a converted checkpoint of theirs is built of."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from torch import nn

from fuseloom.encoders import Encoder
from fuseloom.encoders.hf import HfEncoder
from fuseloom.encoders.timm import TimmEncoder
from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange.cls_exchange import ClsExchange, Mode, Rule
from fuseloom.heads import PositionHead
from fuseloom.models.config import ModelConfig
from fuseloom.models.fusion import FusionModel
from fuseloom.models.muse.official import OfficialImage, OfficialText, official_muse
from fuseloom.models.systems._base import System
from fuseloom.nn import PostNormBlock
from fuseloom.registry import register
from fuseloom.tasks import Task

__all__ = ["OfficialMuseSystem"]

_MODALITIES = ("image", "text")


@register("official_muse")
@dataclass(frozen=True, kw_only=True)
class OfficialMuseSystem(System):
    """MuSE for sentiment, op for op as its authors ran it, without its decoders.

    It is there for their weights, see `MuseConverter`: padding is as real as all else, a row without picture
    is one with a black picture, and both encoders end as the official ones do. Train `muse` instead.

    Paper: Zhu et al., 2023, arXiv:2309.02190.

    Raises:
        ModalityError: other modalities than ``text``, by the encoder ``hf``, and ``image``, by ``timm``.
        OptionError: a task of words, whose tags are of word pieces there.
    """

    card = ClsExchange.card

    theta: float = 0.1
    mu: int = 1
    """First layer that exchanges, from 0."""
    eta: int = 4
    """The layer before which exchanging ends."""
    rule: Rule = "quantile"
    mode: Mode = "add"
    num_layers: int = 6
    num_heads: int = 12
    hidden: int = 2048
    """Width inside the blocks' feed-forward part."""
    dropout: float = 0.2
    """In the transformer."""
    grid: int = 8
    """Rows and columns of patches."""

    def build(self, encoders: Mapping[str, Encoder], config: ModelConfig, task: Task) -> FusionModel:
        text, image = encoders.get("text"), encoders.get("image")
        if len(encoders) != len(_MODALITIES) or not (
            isinstance(text, HfEncoder) and isinstance(image, TimmEncoder)
        ):
            kinds = {name: type(encoder).__name__ for name, encoder in sorted(encoders.items())}
            raise ModalityError(
                f"official_muse must have text by the encoder 'hf' and image by 'timm', got {kinds}."
            )
        head = task.head(config.dim, dropout=config.dropout)
        if isinstance(head, PositionHead):
            raise OptionError(
                f"official_muse must have a task of rows, such as classification, got {task.name!r}. For "
                "tags of words train 'muse'."
            )
        return official_muse(
            OfficialText(_language(text)),
            OfficialImage(_body(image), image.dims[-2], dim=config.dim, grid=self.grid),
            head,
            num_layers=self.num_layers,
            layers=range(self.mu, self.eta),
            block=partial(PostNormBlock, num_heads=self.num_heads, hidden=self.hidden, dropout=self.dropout),
            theta=self.theta,
            rule=self.rule,
            mode=self.mode,
        )


def _language(text: HfEncoder) -> nn.Module:
    """The language model, without its pooler and without what our encoder puts behind it."""
    language = text.stages[0].get_submodule("backbone.module")
    language.pooler = None  # type: ignore[assignment]
    return language


def _body(image: TimmEncoder) -> nn.Module:
    """The convolutions, behind the normalisation of the pixels."""
    return nn.Sequential(*(stage.get_submodule("body") for stage in image.stages[:-1]))
