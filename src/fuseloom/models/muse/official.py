"""MuSE as its authors built it, for their weights: encoders, assembly, and a checkpoint's names both ways."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.encoders import Encoder
from fuseloom.errors import OptionError
from fuseloom.models.fusion import FusionModel
from fuseloom.models.muse.captioner import Captioner, convert_captioner, official_captioner
from fuseloom.models.muse.decoders import GenerativeLosses, LossWeights
from fuseloom.models.muse.pixelcnn import PixelCnn
from fuseloom.models.muse.pixelcnn_checkpoint import convert_muse_pixelcnn, official_muse_pixelcnn
from fuseloom.models.muse.system import muse
from fuseloom.models.muse.transformer import convert_muse_transformer, official_muse_transformer

__all__ = ["OfficialImage", "OfficialText", "convert_muse", "official_muse", "official_muse_state"]


class OfficialText(Encoder):
    """BERT's last hidden states, also of the padding, as MuSE's official code hands them on.

    The first token is of the second segment, all others of the first.

    Args:
        bert: A ``BertModel`` of transformers without its pooler, which belongs to the decoders here.

    Shapes: ids ``[B, T]`` and mask ``[B, T]`` to tokens ``[B, T, D]`` without a mask.
    """

    def __init__(self, bert: nn.Module) -> None:
        super().__init__([_Bert(bert)], [int(bert.config.hidden_size)])  # type: ignore[union-attr, arg-type]


class _Bert(nn.Module):
    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, None]:
        # NOTE(bug-for-bug): a habit of another model's code, in which the first token is the last.
        segments = F.pad(torch.zeros_like(ids[:, 1:]), (1, 0), value=1)
        read = torch.ones_like(ids) if mask is None else mask.long()
        hidden: Tensor = self.bert(ids, attention_mask=read, token_type_ids=segments).last_hidden_state
        return hidden, None


class OfficialImage(Encoder):
    """A convolutional body, a grid of means over what it gives, and a linear map to tokens.

    Args:
        body: Images to maps ``[B, C, H, W]``, such as a ResNet-152 without pooling and classifier.
        width: ``C``.
        dim: Width of the tokens.
        grid: Rows and columns of the grid, ``P``; where the map is smaller, neighbours overlap.

    Shapes: ``[B, 3, H, W]`` to tokens ``[B, P * P, dim]``, row by row, without a mask.
    """

    def __init__(self, body: nn.Module, width: int, *, dim: int = 768, grid: int = 8) -> None:
        super().__init__([_Body(body, grid), _Patches(width, dim)], [width, dim])


class _Body(nn.Module):
    def __init__(self, body: nn.Module, grid: int) -> None:
        super().__init__()
        self.body, self.grid = body, grid

    def forward(self, images: Tensor, mask: Tensor | None) -> tuple[Tensor, None]:
        return F.adaptive_avg_pool2d(self.body(images), self.grid), None


class _Patches(nn.Module):
    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, dim)

    def forward(self, maps: Tensor, mask: Tensor | None) -> tuple[Tensor, None]:
        return self.fc(maps.flatten(2).mT), None


def official_muse(
    text: OfficialText,
    image: OfficialImage,
    head: nn.Module,
    *,
    captioner: Captioner | None = None,
    painter: PixelCnn | None = None,
    weights: LossWeights | None = None,
    **options: Any,
) -> FusionModel:
    """MuSE op for op as in the published runs; with a head of tags it needs as many ids as patches.

    Padding is as real as all else to the transformer; ``positions`` tells a head of tags what is real.

    Args:
        text: The encoder of ids.
        image: The encoder of images.
        head: `TaggingHead` for entities, `LinearHead` for sentiment, each as wide as the streams.
        captioner: Writes the text from the image, in training.
        painter: Paints the image from the text, in training.
        weights: Of the two; here that of the painter is of a sum over images, ``64 * beta``.
        options: Those of `muse_transformer`.
    """
    dims = {"text": text.dims[-1], "image": image.dims[-1]}
    decoders = None
    if captioner is not None or painter is not None:
        decoders = GenerativeLosses(
            dims,
            captioner=captioner,
            painter=painter,
            weights=weights if weights is not None else LossWeights(painting=_PAINTING),
            prefix=1,
            faithful=True,
        )
    encoders: dict[str, Encoder] = {"text": text, "image": image}
    return muse(encoders, head, decoders=decoders, context="index", faithful=True, **options)


def convert_muse(official: Mapping[str, Tensor], *, decoders: bool = True) -> dict[str, Tensor]:
    """State dict of `official_muse` from that of an official checkpoint (``model_best.bin``).

    Args:
        official: Official name -> weight.
        decoders: Whether the model has both decoders, which only training needs; otherwise their weights are
            left out.

    Raises:
        OptionError: a name that the official model does not have.
    """
    found: dict[str, Tensor] = {}
    for part, own in _sorted(official, {part: part.official for part in _PARTS}, "a MuSE model").items():
        if part.ours and (decoders or not part.of_decoders):
            found |= _under(part.place(decoders=decoders), part.convert(own))
    return found


def official_muse_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of the official model from that of `official_muse`, with or without decoders: the inverse.

    Raises:
        OptionError: a name that `official_muse` does not have.
    """
    decoders = any(name.startswith("exchanges.2_1.") for name in state)
    found: dict[str, Tensor] = {}
    places = {part: part.place(decoders=decoders) for part in _PARTS if part.ours}
    for part, own in _sorted(state, places, "official_muse").items():
        found |= _under(part.official, part.restore(own))
    return found


def _sorted(
    state: Mapping[str, Tensor], prefixes: "Mapping[_Part, str]", owner: str
) -> "dict[_Part, dict[str, Tensor]]":
    """The tensors of each part, without its prefix."""
    found: dict[_Part, dict[str, Tensor]] = {}
    for name, value in state.items():
        part = next((part for part, prefix in prefixes.items() if name.startswith(prefix)), None)
        if part is None:
            raise OptionError(f"The state must be that of {owner}, got {name!r} in it.")
        found.setdefault(part, {})[name.removeprefix(prefixes[part])] = value
    return found


def _under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


_Rename = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def _same(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return dict(state)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What stands under one prefix of the official names, and where it is with us."""

    official: str
    ours: str
    """Empty for what is left out."""
    of_decoders: bool = False
    convert: _Rename = _same
    restore: _Rename = _same

    def place(self, *, decoders: bool) -> str:
        """Our prefix; without decoders the transformer is the only exchange."""
        return self.ours if decoders or self.of_decoders else self.ours.replace("2_1.", "2.")


def _split(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The linear map over text beside image, as `Concat` has it."""
    text, image = state["weight"].chunk(2, 1)
    return {"weight.text": text, "weight.image": image, "bias": state["bias"]}


def _joined(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"weight": torch.cat([state["weight.text"], state["weight.image"]], 1), "bias": state["bias"]}


def _vector(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value[0] for key, value in state.items()}


def _row(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value[None] for key, value in state.items()}


_PAINTING = 64e-4
_PARTS = (
    _Part(official="text_encoder.bert.embeddings.position_ids", ours=""),  # that older versions wrote
    _Part(official="text_encoder.bert.pooler.dense.", ours="exchanges.2.pooler.", of_decoders=True),
    _Part(official="text_encoder.bert.", ours="encoders.text.stages.0.bert."),
    _Part(official="image_encoder.resnet.", ours="encoders.image.stages.0.body."),
    _Part(official="image_encoder.fc.", ours="encoders.image.stages.1.fc."),
    _Part(official="cls_t", ours="encoders.text.stages.1.token", convert=_vector, restore=_row),
    _Part(official="cls_i", ours="encoders.image.stages.2.token", convert=_vector, restore=_row),
    _Part(official="linear.", ours="exchanges.2.linear.", of_decoders=True),
    _Part(official="linear2.", ours="merge.", convert=_split, restore=_joined),
    _Part(official="classifier.", ours="head.linear."),
    _Part(official="crf.", ours="head.crf."),
    _Part(
        official="text_decoder.",
        ours="exchanges.2.captioner.",
        of_decoders=True,
        convert=convert_captioner,
        restore=official_captioner,
    ),
    _Part(
        official="image_decoder.",
        ours="exchanges.2.painter.",
        of_decoders=True,
        convert=convert_muse_pixelcnn,
        restore=official_muse_pixelcnn,
    ),
    _Part(
        official="cross_transformer.",
        ours="exchanges.2_1.",
        convert=convert_muse_transformer,
        restore=official_muse_transformer,
    ),
)
"""In the order in which prefixes are tried."""
