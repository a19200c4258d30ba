"""MuSE by name: its options as numbers, and the model that they describe."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fuseloom.encoders import Encoder
from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange.cls_exchange import ClsExchange, Mode, Rule, Score
from fuseloom.heads import PositionHead
from fuseloom.models.anchor import Context
from fuseloom.models.config import ModelConfig
from fuseloom.models.fusion import FusionModel
from fuseloom.models.muse.captioner import Captioner
from fuseloom.models.muse.decoders import GenerativeLosses, LossWeights
from fuseloom.models.muse.pixelcnn import PixelCnn
from fuseloom.models.muse.system import muse, without_decoders
from fuseloom.models.systems._base import Extra, System
from fuseloom.nn import PostNormBlock
from fuseloom.registry import register
from fuseloom.tasks import Task

__all__ = ["MuseSystem"]

_DIVISOR = 4
"""Sides of what the painter paints are a multiple of it."""


@register("muse")
@dataclass(frozen=True, kw_only=True)
class MuseSystem(System):
    """Text and image through one transformer that exchanges what matters least, and two decoders in training.

    Defaults are those of the published runs. Both decoders are there in training only, and not in what is
    saved.

    Paper: Zhu et al., 2023, arXiv:2309.02190.

    Raises:
        OptionError: a layer that is not there, a negative weight, a picture whose side is no multiple of
            four, or, for a task of rows, an exchange that no layer behind it reads.
    """

    card = ClsExchange.card

    theta: float = 0.1
    """Share of the tokens of each stream that are exchanged in a layer; 0 is no exchange."""
    mu: int = 1
    """First layer that exchanges, from 0."""
    eta: int = 4
    """The layer before which exchanging ends."""
    rule: Rule = "quantile"
    mode: Mode = "add"
    score: Score = "attention"
    """What makes a token matter, see `ClsExchange`, which also has the two before it."""
    num_layers: int = 6
    num_heads: int = 12
    hidden: int = 2048
    """Width inside the blocks' feed-forward part."""
    dropout: float = 0.2
    """In the transformer; that of encoders and head is the model's."""
    context: Context = "attention"
    """How patches come to the words whose tags are predicted, see `Anchor`."""
    context_heads: int = 1
    """Of that attention."""
    captioning: float = LossWeights.captioning
    """Weight of the captioner's loss, ``alpha``; 0 is none."""
    painting: float = LossWeights.painting
    """Weight of the painter's loss, see `LossWeights`; 0 is none."""
    caption_width: int = 512
    """Of words, memory and attention of the captioner."""
    caption_length: int = 64
    """Most words of a caption, its two marks among them."""
    caption_words: str = "blanks"
    """How captions are divided: at ``blanks``, or as ``spacy`` does."""
    caption_count: int = 2
    """How often a word must be in the training texts to be known."""
    picture_size: int = 32
    """Side of the pictures that the painter paints."""
    painter_blocks: int = 5
    """Of each stream of the painter, at each of its levels."""
    painter_filters: int = 80
    """Channels of the painter."""
    painter_mixtures: int = 10
    """Logistics that it gives each pixel as a mixture of."""

    def __post_init__(self) -> None:
        if not 0 <= self.mu <= self.eta <= self.num_layers:
            raise OptionError(
                f"mu and eta must be 0 <= mu <= eta <= num_layers = {self.num_layers}, got mu={self.mu} and "
                f"eta={self.eta}."
            )
        if min(self.captioning, self.painting) < 0:
            raise OptionError(
                f"captioning and painting must not be negative, got {self.captioning} and {self.painting}."
            )
        if self.picture_size < _DIVISOR or self.picture_size % _DIVISOR:
            raise OptionError(f"picture_size must be a multiple of {_DIVISOR}, got {self.picture_size}.")

    def extras(self) -> Mapping[str, Extra]:
        """Captions of the texts and small pictures, of the decoders that there are."""
        found = {}
        if self.captioning > 0:
            words = {"tokenise": self.caption_words, "min_count": self.caption_count}
            found["captions"] = Extra(
                of="text", kind="captions", settings={**words, "max_length": self.caption_length}
            )
        if self.painting > 0:
            size = {"size": self.picture_size, "frames": 1, "squash": True}
            found["pictures"] = Extra(of="image", kind="image", settings=size)
        return found

    def build(self, encoders: Mapping[str, Encoder], config: ModelConfig, task: Task) -> FusionModel:
        """MuSE; with the decoders whose ``extras`` the configuration has."""
        if len(encoders) != 2:
            raise ModalityError(
                f"muse must have two modalities, text and image, got {sorted(encoders)}. Train on one alone "
                "with the fusion 'concat'."
            )
        head = task.head(config.dim, dropout=config.dropout)
        if (
            not isinstance(head, PositionHead)
            and self.theta > 0
            and self.mu == self.num_layers - 1 < self.eta
        ):
            raise OptionError(
                f"mu must be below the last layer for {task.name}, whose class tokens read what was "
                f"exchanged before, got mu={self.mu} of {self.num_layers} layers. Give it num_layers=2 or "
                "more, or theta=0."
            )
        return muse(
            encoders,
            head,
            dim=config.dim,
            anchor=config.anchor,
            context=self.context,
            context_heads=self.context_heads,
            decoders=self._decoders(encoders, config.extras),
            num_layers=self.num_layers,
            layers=range(self.mu, self.eta) if self.theta > 0 else (),
            block=partial(PostNormBlock, num_heads=self.num_heads, hidden=self.hidden, dropout=self.dropout),
            theta=self.theta,
            rule=self.rule,
            mode=self.mode,
            score=self.score,
        )

    def _decoders(
        self, encoders: Mapping[str, Encoder], learnt: Mapping[str, Mapping[str, Any]]
    ) -> GenerativeLosses | None:
        if not learnt:
            return None
        dims = {name: encoder.dims[-1] for name, encoder in encoders.items()}
        width = next(iter(dims.values()))
        captions, pictures = learnt.get("captions"), learnt.get("pictures")
        return GenerativeLosses(
            dims,
            names=_names(dims, captions, pictures),
            captioner=None
            if captions is None
            else Captioner(
                width,
                captions["num_words"],
                attention_dim=self.caption_width,
                embedding_dim=self.caption_width,
                hidden_dim=self.caption_width,
            ),
            painter=None
            if pictures is None
            else PixelCnn(
                width,
                num_resnet=self.painter_blocks,
                num_filters=self.painter_filters,
                num_mixtures=self.painter_mixtures,
            ),
            weights=LossWeights(captioning=self.captioning, painting=self.painting),
            prefix=1,
        )

    def served(self, model: FusionModel, config: ModelConfig) -> tuple[FusionModel, ModelConfig]:
        """Without the decoders."""
        return without_decoders(model), replace(config, extras={})


def _names(
    dims: Mapping[str, int], captions: Mapping[str, Any] | None, pictures: Mapping[str, Any] | None
) -> tuple[str, str]:
    """Which modality is the text, and which the image, by what is made of them."""
    first, second = dims
    swapped = (captions is not None and captions["of"] == second) or (
        pictures is not None and pictures["of"] == first
    )
    return (second, first) if swapped else (first, second)
