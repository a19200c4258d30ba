"""Text as the numbers of its words, for what writes it."""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.captions import PAD, CaptionVocabulary
from fuseloom.data.dataset import Text
from fuseloom.data.preprocessing._base import Encoded, Preprocessor

__all__ = ["CaptionPreprocessor"]

_MARKS = 2


@dataclass(frozen=True, kw_only=True)
class CaptionPreprocessor(Preprocessor):
    """Captions ``[N, T]``: the numbers of words between the marks of start and end, see `CaptionVocabulary`.

    ``T`` is that of the longest training text, and longer ones are cut. A text that is missing or blank has
    no caption, so that its row is all padding.
    """

    kind = "captions"
    reads = "text"
    vocabulary: tuple[str, ...] = field(repr=False)
    tokenise: str
    length: int

    @classmethod
    def fit(
        cls,
        modality: Text,
        rows: NDArray[np.intp],
        *,
        tokenise: str = "blanks",
        min_count: int = 2,
        max_length: int = 64,
    ) -> Self:
        """Learn words and length from the given rows.

        Args:
            modality: Texts.
            rows: Those of training.
            tokenise: How texts are divided, ``blanks`` or ``spacy``.
            min_count: How often a word must be in them to be known.
            max_length: Most words of a caption, the two marks among them.

        Raises:
            DataError: no word is there so often.
            MissingExtraError: spaCy is not installed.
            OptionError: ``min_count`` below 1, or ``max_length`` below 3.
        """
        texts = modality.values[rows].tolist()
        known = CaptionVocabulary.learn(texts, tokenise=tokenise, min_count=min_count)
        captions, _ = known.encode_all(texts, max_length=max_length)
        return cls(vocabulary=known.words, tokenise=tokenise, length=max(captions.shape[1], _MARKS + 1))

    def apply(self, modality: Text) -> Encoded:
        """Numbers ``[N, T]`` (int64), padded behind the end mark, and their mask."""
        known = CaptionVocabulary(words=self.vocabulary, tokenise=self.tokenise)
        captions, mask = known.encode_all(modality.values.tolist(), max_length=self.length)
        behind = ((0, 0), (0, self.length - captions.shape[1]))
        return np.pad(captions, behind, constant_values=PAD), np.pad(mask, behind)

    def encoder_options(self) -> dict[str, Any]:
        """How many words are known."""
        return {"num_words": len(self.vocabulary)}
