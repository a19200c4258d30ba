"""Language models of Hugging Face transformers: their weights, their tokenizers, what they make of ids."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from fuseloom.encoders._backbones import Backbone, is_folder, unreachable
from fuseloom.encoders._shapes import check_shape
from fuseloom.errors import MissingExtraError, OptionError
from fuseloom.part import zero_masked

__all__ = ["Language", "language_model", "load_tokenizer", "tokenise"]

_FAILURES = (OSError, ValueError, RuntimeError, KeyError, SafetensorError)


def language_model(model: str, config: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any], int]:
    """A model, its configuration and its width; of one with encoder and decoder only the encoder.

    Args:
        model: Name on the Hub, or folder with ``config.json`` and weights.
        config: To be built of instead, with nothing loaded.

    Raises:
        DataError: it cannot be loaded.
        MissingExtraError: transformers is not installed.
    """
    language = _load(model) if config is None else _build(config)
    own: dict[str, Any] = language.config.to_dict()
    if language.config.is_encoder_decoder:
        language = language.get_encoder()
    return language, own, int(language.config.hidden_size)


class Language(nn.Module):
    """Token ids ``[B, T]`` and their mask to hidden states ``[B, T, D]``, zero under False, and the mask.

    Args:
        language: The model.
        frozen: Whether it keeps its weights and stays in evaluation mode.
    """

    def __init__(self, language: Any, frozen: bool) -> None:
        super().__init__()
        padding = getattr(language.config, "pad_token_id", None)
        self.padding = 0 if padding is None else int(padding)
        self.backbone = Backbone(language, frozen=frozen)
        # A pooler stands behind what is used here, so it would never get a gradient.
        for name, parameter in language.named_parameters():
            if name.startswith("pooler."):
                parameter.requires_grad_(False)

    def forward(self, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Hidden states and the mask."""
        check_shape(ids, "B", "T")
        if mask is None:
            return self.backbone.module(input_ids=ids).last_hidden_state, None
        known = ids.masked_fill(~mask, self.padding)
        # A text without tokens would attend to nothing, which is NaN in some kernels: it reads padding.
        read = mask | ~mask.any(1, keepdim=True)
        hidden = self.backbone.module(input_ids=known, attention_mask=read.long()).last_hidden_state
        return zero_masked(hidden, mask), mask


def load_tokenizer(model: str) -> Any:
    """The tokenizer of a model on the Hub or in a folder.

    Raises:
        DataError: it cannot be loaded.
        MissingExtraError: transformers is not installed.
    """
    transformers = _transformers()
    place = _place(model, "tokenizer_config.json")  # which a tokenizer alone has
    try:
        return transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    except _FAILURES as error:
        raise unreachable(model, "transformers", error) from error


def tokenise(
    texts: Sequence[str | None], tokenizer: Any, max_length: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], int]:
    """Token ids of texts, padded behind their end, and how many texts had to be cut.

    Args:
        texts: One text per sample; None or blank is absent and has no real token.
        tokenizer: As `load_tokenizer` gives it.
        max_length: Most tokens of a text, the model's own marks included.

    Returns:
        Ids ``[N, T]``, mask ``[N, T]`` (True = real), where ``T`` is the longest text but at least one, and
        the number of texts that were cut.

    Raises:
        OptionError: ``max_length`` that leaves no room for a token beside the model's own marks.
    """
    marks = len(tokenizer("")["input_ids"])
    if max_length <= marks:
        raise OptionError(f"max_length must be above the {marks} marks of the model, got {max_length}.")
    present = [row for row, text in enumerate(texts) if text and not text.isspace()]
    given = [str(texts[row]) for row in present]
    rows: list[list[int]] = (
        tokenizer(given, truncation=True, max_length=max_length)["input_ids"] if given else []
    )
    full = [text for text, row in zip(given, rows, strict=True) if len(row) == max_length]
    whole = tokenizer(full, verbose=False)["input_ids"] if full else []
    cut = sum(len(row) > max_length for row in whole)
    length = max((len(row) for row in rows), default=1)
    padding = 0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    ids = np.full((len(texts), length), padding, dtype=np.int64)
    mask = np.zeros(ids.shape, dtype=np.bool_)
    for place, row in zip(present, rows, strict=True):
        ids[place, : len(row)], mask[place, : len(row)] = row, True
    return ids, mask, cut


def _load(model: str) -> Any:
    transformers = _transformers()
    place = _place(model)
    try:
        return transformers.AutoModel.from_pretrained(place, trust_remote_code=False, dtype=torch.float32)
    except _FAILURES as error:
        raise unreachable(model, "transformers", error) from error


def _build(config: Mapping[str, Any]) -> Any:
    transformers = _transformers()
    own = transformers.AutoConfig.for_model(**config)
    return transformers.AutoModel.from_config(own, trust_remote_code=False, dtype=torch.float32)


def _place(model: str, *marks: str) -> str:
    return str(Path(model).expanduser()) if is_folder(model, marks=("config.json", *marks)) else model


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise MissingExtraError(
            "Encoders of Hugging Face need transformers. Install it with: pip install 'fuseloom[text]'"
        ) from None
    return transformers
