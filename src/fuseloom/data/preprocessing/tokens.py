"""Text as the tokens of a language model."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Text
from fuseloom.data.preprocessing._base import Encoded, Preprocessor
from fuseloom.encoders.hf import load_tokenizer, tokenise

__all__ = ["TokenPreprocessor"]

_LONGEST = 128
_DEFAULT = "bert-base-uncased"


@dataclass(frozen=True, kw_only=True)
class TokenPreprocessor(Preprocessor):
    """Token numbers ``[N, T]`` of a model's own tokenizer; ``T`` is that of the longest training text.

    Longer texts are cut. A text that is missing or blank is masked as a whole.
    """

    kind = "tokens"
    reads = "text"
    rows_at_once: ClassVar[int] = 1024
    model: str
    """Name or folder of the model whose tokenizer it is."""
    length: int

    @classmethod
    def fit(
        cls, modality: Text, rows: NDArray[np.intp], *, model: str = _DEFAULT, max_length: int = _LONGEST
    ) -> Self:
        """Learn the length, at most ``max_length`` tokens; count the texts, of all rows, that are cut."""
        tokenizer = load_tokenizer(model)
        _, mask, _ = tokenise(_texts(modality.take(rows)), tokenizer, max_length)
        marks = len(tokenizer("")["input_ids"])  # a length must leave room beside them
        length = max(marks + 1, int(mask.sum(-1).max(initial=1)))
        _, _, cut = tokenise(_texts(modality), tokenizer, length)
        notes = (f"{cut} of {len(modality)} texts are cut after {length} tokens",) if cut else ()
        return cls(model=model, length=length, notes=notes)

    def apply(self, modality: Text) -> Encoded:
        """Token numbers ``[N, T]``, zero behind the end, and their mask."""
        ids, mask, _ = tokenise(_texts(modality), load_tokenizer(self.model), self.length)
        values = np.zeros((len(modality), self.length), dtype=np.int64)
        real = np.zeros(values.shape, dtype=np.bool_)
        there = np.array([bool(text) for text in _texts(modality)], dtype=np.bool_)
        values[:, : ids.shape[1]], real[:, : ids.shape[1]] = ids, mask
        return values, real & there[:, None]

    def keep(self, folder: Path) -> None:
        """Write the tokenizer."""
        load_tokenizer(self.model).save_pretrained(folder)

    def found(self, folder: Path) -> Self:
        """The same, with the tokenizer of that folder."""
        return replace(self, model=str(folder)) if folder.is_dir() else self

    def encoder_options(self) -> dict[str, Any]:
        """The model."""
        return {"model": self.model}


def _texts(modality: Text) -> list[str]:
    return [text if text and not text.isspace() else "" for text in modality.values]
