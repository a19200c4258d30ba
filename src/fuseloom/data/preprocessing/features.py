"""Pictures and texts as the features of a pretrained model that is not trained, each computed once."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from fuseloom.data.dataset import Image, Text
from fuseloom.data.preprocessing._base import Encoded, Preprocessor
from fuseloom.data.preprocessing.image import ImagePreprocessor
from fuseloom.data.preprocessing.tokens import TokenPreprocessor
from fuseloom.encoders import PretrainedEncoder
from fuseloom.registry import lookup

__all__ = ["ImageFeatures", "TextFeatures"]

_WEIGHTS = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class _Features(Preprocessor):
    """Features ``[N, D]``, tokens ``[N, T, D]`` or maps ``[N, D, H, W]`` of a frozen encoder."""

    rows_at_once: ClassVar[int] = 64
    encoder: ClassVar[str]
    before: ClassVar[type[Preprocessor]]
    """What makes the encoder's input."""
    raw: Mapping[str, Any]
    """State of that."""
    options: Mapping[str, Any]
    """Of the encoder."""
    config: Mapping[str, Any]
    """Options with which it is built without its pretrained weights."""
    width: int
    folder: str | None = None
    """Where `keep` wrote the weights; otherwise they are where the model comes from."""

    @classmethod
    def _fitted(cls, raw: Preprocessor, options: Mapping[str, Any]) -> Self:
        encoder = _built(cls.encoder, json.dumps(options), None)
        count = sum(parameter.numel() for parameter in encoder.parameters())
        costs = f"{count:,} parameters and its time count for no model"
        return cls(
            raw=raw.state(),
            options=options,
            config=encoder.rebuild_options(),
            width=encoder.feature_dim,
            notes=(*raw.notes, f"features of {options['model']}, frozen: its {costs}"),
        )

    def apply(self, modality: Any) -> Encoded:
        """Features in float32, zero where masked, and their mask."""
        values, mask = self._raw().apply(modality)
        with torch.inference_mode():
            found, kept = self._model().features(torch.from_numpy(values), torch.from_numpy(mask))
        assert kept is not None
        shown = kept[:, None] if found.dim() == 4 else kept[..., None]
        return found.float().masked_fill(~shown, 0).numpy(), kept.contiguous().numpy()

    def encoder_options(self) -> dict[str, Any]:
        """Width of the features."""
        return {"in_dim": self.width}

    def keep(self, folder: Path) -> None:
        """Write the weights, and what the preprocessing before them needs."""
        self._raw().keep(folder / "before")
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: value.contiguous() for name, value in self._model().state_dict().items()}
        save_file(weights, folder / _WEIGHTS)

    def found(self, folder: Path) -> Self:
        """The same, with the weights of that folder."""
        return replace(self, folder=str(folder))

    def state(self) -> dict[str, Any]:
        """All but the folder, which may move."""
        return {name: value for name, value in asdict(self).items() if name != "folder"}

    def _raw(self) -> Preprocessor:
        raw = self.before.from_state(self.raw)
        return raw if self.folder is None else raw.found(Path(self.folder) / "before")

    def _model(self) -> PretrainedEncoder:
        options = self.options if self.folder is None else {**self.options, **self.config}
        return _built(self.encoder, json.dumps(options), self.folder)


@dataclass(frozen=True, kw_only=True)
class ImageFeatures(_Features):
    """Pictures as a frozen model of timm sees them; see `fuseloom.encoders.timm.TimmEncoder`."""

    kind = "image-features"
    reads = "image"
    encoder = "timm"
    before = ImagePreprocessor

    @classmethod
    def fit(
        cls,
        modality: Image,
        rows: NDArray[np.intp],
        *,
        model: str = "resnet18",
        output: str = "pooled",
        pretrained: bool = True,
        size: int = 224,
    ) -> Self:
        """Read the model; ``size`` is that of the pictures it gets, of several frames the middle one."""
        raw = ImagePreprocessor.fit(modality, rows, size=size, frames=1)
        return cls._fitted(raw, {"model": model, "output": output, "pretrained": pretrained})


@dataclass(frozen=True, kw_only=True)
class TextFeatures(_Features):
    """Texts as a frozen language model reads them; see `fuseloom.encoders.hf.HfEncoder`."""

    kind = "text-features"
    reads = "text"
    encoder = "hf"
    before = TokenPreprocessor

    @classmethod
    def fit(
        cls,
        modality: Text,
        rows: NDArray[np.intp],
        *,
        model: str = "bert-base-uncased",
        output: str = "pooled",
        max_length: int = 128,
    ) -> Self:
        """Read the model and the length, as `TokenPreprocessor` does."""
        raw = TokenPreprocessor.fit(modality, rows, model=model, max_length=max_length)
        return cls._fitted(raw, {"model": model, "output": output})


@lru_cache(maxsize=4)  # rows come in parts, and folds one after another
def _built(kind: str, options: str, folder: str | None) -> PretrainedEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(
            0
        )  # of what is drawn: the last linear map, which is not used, or with pretrained=False
        encoder: PretrainedEncoder = lookup(kind, kind="encoder")(frozen=True, dim=1, **json.loads(options))
    if folder is not None:
        encoder.load_state_dict(load_file(Path(folder) / _WEIGHTS))
    return encoder.eval()
