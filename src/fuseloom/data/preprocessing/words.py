"""Text as words: what is known of each from training, and its letters."""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Text
from fuseloom.data.preprocessing._base import Encoded, Preprocessor
from fuseloom.data.preprocessing._windows import Windows, find_windows

__all__ = ["WordPreprocessor"]

_SEEN, _LONGEST = 2, 256
_DIGIT = re.compile(r"\d")


@dataclass(frozen=True, kw_only=True)
class WordPreprocessor(Preprocessor):
    """Words ``[N, W, 1 + L]``: the number of each, then its letters as bytes of UTF-8, between two marks.

    Words stand between single blanks. Number 0 is any word that was not in the training texts twice; they
    are told apart by their lower case with every digit alike. Of a word of more than ``L - 2`` bytes its
    beginning and its end are kept. ``W`` is that of the longest training text, and longer ones are cut, or
    read in windows. A text that is missing or blank is masked as a whole.
    """

    kind = "words"
    reads = "text"
    letters: ClassVar[int] = 22
    """``L``."""
    begin: ClassVar[int] = 2
    """The mark before the first byte; 3 is behind the last, 0 beyond. No text has them as letters."""
    vocabulary: tuple[str, ...] = field(repr=False)
    length: int

    @classmethod
    def fit(
        cls, modality: Text, rows: NDArray[np.intp], *, min_count: int = _SEEN, max_words: int = _LONGEST
    ) -> Self:
        """Learn which words there are and the length; count the texts, of all rows, that are cut.

        Args:
            modality: Texts.
            rows: Those of training.
            min_count: How often a word must be in them to be known.
            max_words: Most words of a text.
        """
        learnt = _split(modality.values[rows])
        counts = Counter(_plain(word) for words in learnt for word in words)
        length = min(max(map(len, learnt), default=0) or 1, max_words)
        cut = sum(len(words) > length for words in _split(modality.values))
        return cls(
            vocabulary=tuple(sorted(word for word, count in counts.items() if count >= min_count)),
            length=length,
            notes=(f"{cut} of {len(modality)} texts are cut after {length} words in training",)
            if cut
            else (),
        )

    def apply(self, modality: Text) -> Encoded:
        """Words ``[N, W, 1 + L]`` (int32), zero behind the end, and their mask ``[N, W]``."""
        numbers = {word: number for number, word in enumerate(self.vocabulary, 1)}
        texts = [words[: self.length] for words in _split(modality.values)]
        values = np.zeros((len(texts), self.length, 1 + self.letters), dtype=np.int32)
        for row, words in enumerate(texts):
            for place, word in enumerate(words):
                spelt = self._spelt(word)
                values[row, place, 0] = numbers.get(_plain(word), 0)
                values[row, place, 1 : 1 + len(spelt)] = spelt
        lengths = np.array([len(words) for words in texts], dtype=np.intp)
        return values, np.arange(self.length) < lengths[:, None]

    def windows(self, modality: Text) -> dict[int, Windows]:
        """How texts of more than ``W`` words are divided."""
        sizes = ([1] * len(words) for words in _split(modality.values))
        found = (find_windows(each, room=self.length, most=self.length) for each in sizes)
        return {row: windows for row, windows in enumerate(found) if windows is not None}

    def encoder_options(self) -> dict[str, Any]:
        """How many words are known."""
        return {"num_words": len(self.vocabulary)}

    def _spelt(self, word: str) -> list[int]:
        spelt, most = list(word.encode("utf-8", "replace")), self.letters - 2
        if len(spelt) > most:
            spelt = spelt[: most // 2] + spelt[-(most - most // 2) :]
        return [self.begin, *spelt, self.begin + 1]


def _split(texts: NDArray[np.object_]) -> list[list[str]]:
    return [text.split(" ") if text and text.strip(" ") else [] for text in texts]


def _plain(word: str) -> str:
    return _DIGIT.sub("0", word.lower())
