"""Checkpoints of MuSE for sentiment."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fuseloom.errors import DataError, MissingExtraError, ModalityError, OptionError
from fuseloom.exchange.cls_exchange import Mode, Rule
from fuseloom.models.config import ModelConfig
from fuseloom.models.converters._base import Converted, Converter, Piece
from fuseloom.models.muse import convert_muse
from fuseloom.registry import register

__all__ = ["MuseConverter"]

_MEAN, _STD = (0.48, 0.498, 0.531), (0.214, 0.207, 0.207)
"""What the official code subtracts from pixels in [0, 1], and divides by."""
_MODALITIES = {"text", "image"}
_MARKS = ("text_encoder.bert.", "image_encoder.fc.weight", "cross_transformer.layers.0.", "classifier.weight")
_JOINED = ("linear2.weight", "linear2.bias")
_BLOCK = re.compile(r"image_encoder\.resnet\.([4-7])\.(\d+)\.")
_BODY = "encoders.image.stages.0.body."
_PLACES = {"0": "0.module.then.0", "1": "0.module.then.1", "4": "0.module.then.4"} | {
    str(5 + stage): f"{1 + stage}.module" for stage in range(3)
}
"""Child of torchvision's ResNet -> where it stands in the stages of ours."""


@register("muse")
@dataclass(frozen=True, kw_only=True)
class MuseConverter(Converter):
    """MuSE for sentiment (``model_best.bin``), with a BERT and a ResNet of any size; modalities text, image.

    The sizes of all parts are read from the weights. What the weights do not tell are the options, whose
    defaults are those of the published runs; above all ``language``, a name or folder whose tokenizer and
    configuration the text encoder has. The decoders, which only training needs, are left behind. A checkpoint
    of named entities tags word pieces, which no saved model does, and is refused.
    """

    paper = "Zhu et al., 2023, arXiv:2309.02190"
    code = "RecklessRonan/MuSE"

    language: str = "bert-base-uncased"
    """Name on the Hub, or folder with ``config.json`` and the files of the tokenizer."""
    theta: float = 0.1
    mu: int = 1
    """First layer that exchanges, from 0: the official ``replace_start``."""
    eta: int = 4
    """The layer before which exchanging ends: one more than the official ``replace_end``."""
    rule: Rule = "quantile"
    mode: Mode = "add"
    num_heads: int = 12
    """Of the transformer that exchanges."""
    max_length: int = 64
    """Word pieces of a text, with marks and padding, which counts here."""
    size: int = 224
    """Side that pictures are squashed to."""
    grid: int = 8
    """Rows and columns of patches."""

    def convert(self, state: Mapping[str, Tensor], modalities: Mapping[str, int | None]) -> Converted:
        _check_system(state)
        if modalities.keys() != _MODALITIES:
            raise ModalityError(f"modalities must be {sorted(_MODALITIES)}, got {sorted(modalities)}.")
        width = len(state["image_encoder.fc.weight"])
        depth = len({name.split(".")[2] for name in state if name.startswith("cross_transformer.layers.")})
        told = {name: value for name, value in asdict(self).items() if name in _OF_SYSTEM}
        config = ModelConfig(
            encoders={
                "text": {
                    "kind": "hf",
                    "model": self.language,
                    "config": _language_config(self.language),
                    "output": "tokens",
                },
                "image": {"kind": "timm", "model": "resnet", "config": _image_config(state), "output": "map"},
            },
            fusion="official_muse",
            dim=width,
            dropout=0.5,
            options={
                "official_muse": {
                    **told,
                    "num_layers": depth,
                    "hidden": len(state["cross_transformer.layers.0.linear1.weight"]),
                }
            },
        )
        return Converted(
            config=config,
            num_outputs=len(state["classifier.weight"]),
            pieces=list(_pieces(state)),
            preprocessing={
                "text": {"kind": "tokens", "state": {"model": self.language, "length": self.max_length}},
                "image": {"kind": "image", "state": {"size": self.size, "squash": True}},
            },
        )


_OF_SYSTEM = ("theta", "mu", "eta", "rule", "mode", "num_heads", "grid")
"""Options that the model has under the same name."""


def _check_system(state: Mapping[str, Tensor]) -> None:
    missing = [mark for mark in _MARKS if not any(name.startswith(mark) for name in state)]
    if missing:
        raise DataError(
            f"The checkpoint must be one of muse, with weights {list(_MARKS)}, got {sorted(state)[:4]}."
        )
    if any(name.startswith("crf.") for name in state):
        raise DataError(
            "The checkpoint must be one of sentiment, got one of named entities ('crf.transitions'): it tags "
            "word pieces, which no saved model does. In Python, official_muse with convert_muse reads it, as "
            "examples/08_official_muse_entities.py does."
        )


def _language_config(language: str) -> dict[str, Any]:
    """The configuration of a language model, in types that JSON knows, without its weights."""
    try:
        from transformers import AutoConfig
    except ImportError:
        raise MissingExtraError(
            "Checkpoints of MuSE need transformers. Install it with: pip install 'fuseloom[text]'"
        ) from None
    folder = Path(language).expanduser()
    try:
        config: dict[str, Any] = AutoConfig.from_pretrained(
            str(folder) if folder.is_dir() else language, trust_remote_code=False
        ).to_dict()
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"language must be a folder with config.json and a tokenizer, or a name on the Hub that can be "
            f"reached, got {language!r}: {reason}"
        ) from None
    return config


def _image_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The ResNet that the weights are of, as timm builds it."""
    blocks = [found.groups() for found in map(_BLOCK.match, state) if found]
    layers = [len({block for stage, block in blocks if stage == str(number)}) for number in range(4, 8)]
    first = "image_encoder.resnet.{}.0.conv1.weight"
    if 0 in layers or any(first.format(number) not in state for number in range(4, 8)):
        raise DataError(f"The image encoder must be a ResNet with blocks in 4 stages, got {layers} blocks.")
    wide = "image_encoder.resnet.4.0.conv3.weight" in state
    channels = [len(state[first.format(number)]) for number in range(4, 8)]
    return {
        "architecture": "resnet50" if wide else "resnet18",  # their blocks; how many, the layers say
        "model_args": {"layers": layers, "channels": channels},
        "mean": list(_MEAN),
        "std": list(_STD),
        "size": None,
    }


def _pieces(state: Mapping[str, Tensor]) -> Iterator[Piece]:
    """Each weight by itself, but for the linear map of both modalities; none of those that are unknown."""
    for name, value in state.items():
        sources = _JOINED if name == _JOINED[0] else (name,)
        if name == _JOINED[1]:
            continue
        given = {one: state[one] for one in sources if one in state}
        try:
            found = convert_muse({name: value, **given}, decoders=False)
        except OptionError:
            continue
        yield Piece(sources=sources, weights={_in_stages(own): one for own, one in found.items()})


def _in_stages(name: str) -> str:
    """Of a weight of the ResNet the name in the stages that ours has."""
    if not name.startswith(_BODY):
        return name
    child, _, rest = name.removeprefix(_BODY).partition(".")
    return f"{_BODY}{_PLACES.get(child, child)}.{rest}"
