"""MuSE's regularisers: the image must tell what the text says, and the text what the image shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange import Exchange
from fuseloom.models.muse.captioner import Captioner
from fuseloom.models.muse.pixelcnn import PixelCnn
from fuseloom.nn import masked_mean
from fuseloom.registry import Card
from fuseloom.types import Masks, Streams, Trace

__all__ = ["GenerativeLosses", "LossWeights"]


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    r"""How much each of MuSE's generative losses counts beside that of the task, as in the published runs.

    There the sum is :math:`\alpha L_{it} / 64 + \beta L_{ti} / 32^2 + L_{task} / 64`, with
    :math:`\alpha = \beta = 10^{-4}` and :math:`L_{ti}` a sum over the 40 images of a step and their pixels.
    """

    captioning: float = 1e-4
    """Of the mean over words, ``alpha``."""
    painting: float = 0.256
    """Of the mean over images and pixels, ``64 * 40 * beta``."""


_WEIGHTS = LossWeights()


class GenerativeLosses(Exchange):
    r"""Leaves streams as they are, and files the losses of two decoders that read them in the trace.

    The ``captioner`` writes the text from the tokens of the image, and the ``painter`` paints the image from
    the sentence, a tanh layer over the mean of the text's tokens; both read through one linear map. Each loss
    is there in training where what it is compared with is given, so that nothing is computed at inference.
    A sample that lacks the modality that is read does not count.

    Paper: Zhu et al., 2023, arXiv:2309.02190. Differs from the official code: the sentence is the mean over
    real tokens, there that of the tokenizer's first mark; the loss of the painter is a mean over images,
    there their sum, so that its weight grows with the batch. ``faithful`` restores both.

    Args:
        dims: The widths of text and image, which are the same.
        names: Of the text and of the image.
        captioner: Of image tokens as wide as the streams.
        painter: Of embeddings as wide.
        weights: Of the losses.
        prefix: How many tokens at the front of each stream to pass over, such as a class token.
        faithful: Read the first token, and sum over images.

    Reads:
        ``captions``: numbers of words ``[B, T]``, padding behind the end mark; ``pictures``:
        ``[B, C, H, W]``, bytes or from -1 to 1.

    Raises:
        ModalityError: other modalities, or unequal widths.
        OptionError: neither a captioner nor a painter.
    """

    card = Card(
        summary="Losses of a captioner and of a painter; streams stay as they are.",
        interaction="additive",
        cost="that of its decoders, in training",
        parameters="shared",
        ranks=("tokens",),
        arity=(2, 2),
        reads=("captions", "pictures"),
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        names: tuple[str, str] = ("text", "image"),
        captioner: Captioner | None = None,
        painter: PixelCnn | None = None,
        weights: LossWeights = _WEIGHTS,
        prefix: int = 0,
        faithful: bool = False,
    ) -> None:
        super().__init__(dims)
        if set(names) != self.dims.keys() or len(set(self.dims.values())) > 1:
            raise ModalityError(
                f"dims must have {names[0]!r} and {names[1]!r} in one width, got {self.dims}."
            )
        if captioner is None and painter is None:
            raise OptionError("captioner or painter must be given, got neither.")
        self.text, self.image = names
        self.prefix, self.weights, width = prefix, weights, self.dims[names[0]]
        self.linear = nn.Linear(width, width)
        self.captioner, self.painter = captioner, painter
        self.pooler = nn.Linear(width, width) if painter is not None else None
        self._sentence = _first_token if faithful else masked_mean
        self._over_images = _sum if faithful else _mean

    def exchange(
        self,
        streams: Streams,
        masks: Masks,
        *,
        trace: Trace | None,
        captions: Tensor | None = None,
        pictures: Tensor | None = None,
        **reads: Any,
    ) -> Streams:
        if trace is not None and self.captioner is not None and captions is not None:
            trace.loss("captioning", self.weights.captioning * self._captioning(streams, masks, captions))
        if trace is not None and self.painter is not None and pictures is not None:
            trace.loss("painting", self.weights.painting * self._painting(streams, masks, pictures))
        return streams

    def embed_image(self, streams: Streams) -> Tensor:
        """What the captioner reads of the streams, ``[B, P, D]``."""
        found: Tensor = self.linear(streams[self.image][:, self.prefix :])
        return found

    def embed_text(self, streams: Streams, masks: Masks) -> Tensor:
        """What the painter reads of the streams, ``[B, D]``."""
        assert self.pooler is not None
        mask = masks[self.text][:, self.prefix :] if self.text in masks else None
        sentence = self._sentence(streams[self.text][:, self.prefix :], mask)
        found: Tensor = self.linear(self.pooler(sentence).tanh())
        return found

    def _captioning(self, streams: Streams, masks: Masks, captions: Tensor) -> Tensor:
        assert self.captioner is not None
        told = captions != self.captioner.marks.pad
        seen = None
        if self.image in masks:
            seen = masks[self.image][:, self.prefix :]
            told = told & seen.any(1, keepdim=True)
        return self.captioner.loss(self.embed_image(streams), captions, told, seen)

    def _painting(self, streams: Streams, masks: Masks, pictures: Tensor) -> Tensor:
        assert self.painter is not None
        losses = self.painter.loss(self.embed_text(streams, masks), pictures)  # [B]
        per_pixel = losses / (pictures.shape[-2] * pictures.shape[-1])
        there = [masks[name].any(1) for name in (self.text, self.image) if name in masks]
        for present in there:
            per_pixel = per_pixel.masked_fill(~present, 0)
        counted = per_pixel.new_tensor(per_pixel.shape[0]) if not there else _all(there).sum()
        return self._over_images(per_pixel, counted)


def _all(masks: list[Tensor]) -> Tensor:
    first, *others = masks
    for other in others:
        first = first & other
    return first


def _first_token(tokens: Tensor, mask: Tensor | None) -> Tensor:
    return tokens[:, 0]


def _mean(values: Tensor, count: Tensor) -> Tensor:
    return values.sum() / count.clamp(min=1)


def _sum(values: Tensor, count: Tensor) -> Tensor:
    return values.sum()
