"""Words of captions as numbers, and back."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.errors import DataError, MissingExtraError, OptionError, UnknownNameError, did_you_mean

__all__ = ["END", "PAD", "START", "TOKENISERS", "UNKNOWN", "CaptionVocabulary"]

PAD, START, END, UNKNOWN = range(4)
_MARKS = ("<PAD>", "<SOS>", "<EOS>", "<UNK>")

Tokenise = Callable[[str], list[str]]


def _spacy() -> Tokenise:
    try:
        from spacy.lang.en import English
    except ImportError:
        raise MissingExtraError(
            "Tokenising captions as 'spacy' needs spaCy. Install it with: pip install 'fuseloom[captions]'"
        ) from None
    tokenizer = English().tokenizer
    return lambda text: [token.text for token in tokenizer(text)]


TOKENISERS: Mapping[str, Callable[[], Tokenise]] = {"blanks": lambda: str.split, "spacy": _spacy}
"""Name -> makes what splits a text: at blanks, or as spaCy's blank English tokenizer does."""


@dataclass(frozen=True, kw_only=True)
class CaptionVocabulary:
    """The words that a captioner knows, in lower case; the first four are marks.

    Captions of a user's own tokenizer are given as its tokens joined by blanks.

    Differs from the official code (MuSE's ``Vocab_Builder``), which is tokenised as ``spacy`` and, encoding,
    tokenises every token once more, and leaves captions of one or two words too many as they are;
    ``faithful`` does so.

    Args:
        words: Number -> word.
        tokenise: One of `TOKENISERS`.
        faithful: Encode as the official code.

    Raises:
        DataError: the marks are not there, or a word is there twice.
        UnknownNameError: a tokeniser that is none.

    Example:
        >>> vocabulary = CaptionVocabulary.learn(["A dog on a bench .", "The dog barks ."])
        >>> vocabulary.words[4:]
        ('a', 'dog', '.')
        >>> vocabulary.encode("A black dog .")
        [1, 4, 3, 5, 6, 2]
        >>> vocabulary.decode([1, 4, 3, 5, 6, 2, 0, 0])
        'a <UNK> dog .'
    """

    words: tuple[str, ...]
    tokenise: str = "blanks"
    faithful: bool = False

    def __post_init__(self) -> None:
        if self.tokenise not in TOKENISERS:
            hint = did_you_mean(self.tokenise, TOKENISERS)
            raise UnknownNameError(f"Unknown tokeniser {self.tokenise!r}.{hint}")
        if self.words[: len(_MARKS)] != _MARKS:
            raise DataError(f"words must begin with {list(_MARKS)}, got {list(self.words[: len(_MARKS)])}.")
        if len(self._numbers) < len(self.words):
            word = Counter(self.words).most_common(1)[0][0]
            raise DataError(f"words must each be there once, got {word!r} twice.")

    @classmethod
    def learn(
        cls,
        texts: Iterable[str | None],
        *,
        tokenise: str = "blanks",
        min_count: int = 2,
        faithful: bool = False,
    ) -> Self:
        """The words that occur at least ``min_count`` times, in the order in which they came to do so.

        Args:
            texts: Those of the training rows only; a missing one is None.
            tokenise: One of `TOKENISERS`.
            min_count: How often a word must occur.
            faithful: Encode as the official code.

        Raises:
            DataError: no word occurs so often.
            MissingExtraError: spaCy is not installed.
            OptionError: a count below one.
            UnknownNameError: a tokeniser that is none.
        """
        if min_count < 1:
            raise OptionError(f"min_count must be at least 1, got {min_count}.")
        empty = cls(words=_MARKS, tokenise=tokenise, faithful=faithful)
        counts: Counter[str] = Counter()
        words = list(_MARKS)
        for word in (word for text in texts for word in empty._split(text or "")):
            counts[word] += 1
            if counts[word] == min_count:
                words.append(word)
        if len(words) == len(_MARKS):
            raise DataError(f"texts must hold a word at least {min_count} times, got none that is.")
        return cls(words=tuple(words), tokenise=tokenise, faithful=faithful)

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, text: str, *, max_length: int | None = None) -> list[int]:
        """Numbers of the words between the marks of start and end, cut to ``max_length`` in all.

        Raises:
            OptionError: a length without room for a word.
        """
        words = self._split(text)
        if self.faithful:
            words = [again for word in words for again in self._split(word)]
        numbers = [self._numbers.get(word, UNKNOWN) for word in words]
        return [START, *self._cut(numbers, max_length), END]

    def encode_all(
        self, texts: Sequence[str | None], *, max_length: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Captions ``[N, T]``, as long as the longest, and their mask (True = real).

        A text that is missing or blank has no caption: its row of the mask is False.
        """
        rows = [self.encode(text, max_length=max_length) if text and text.strip() else [] for text in texts]
        lengths = np.array([len(row) for row in rows], dtype=np.intp)
        mask = np.arange(max(lengths, default=0)) < lengths[:, None]
        captions = np.full(mask.shape, PAD, dtype=np.int64)
        captions[mask] = [number for row in rows for number in row]
        return captions, mask

    def decode(self, numbers: Iterable[int]) -> str:
        """The words up to the end mark, joined by blanks.

        Raises:
            DataError: a number without a word.
        """
        words: list[str] = []
        for number in map(int, numbers):
            if number == END:
                break
            if not 0 <= number < len(self):
                raise DataError(f"numbers must be from 0 to {len(self) - 1}, got {number}.")
            if number not in (PAD, START):
                words.append(self.words[number])
        return " ".join(words)

    def state(self) -> dict[str, Any]:
        """What `from_state` needs, in types that JSON knows."""
        return {**asdict(self), "words": list(self.words)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild from `state`.

        Raises:
            DataError: the state is not one of `state`.
        """
        words = state.get("words")
        entries = {"words", "tokenise", "faithful"}
        if state.keys() != entries or not isinstance(words, list | tuple) or not _strings(words):
            raise DataError(
                f"The state of a vocabulary must have words, tokenise and faithful, got {sorted(state)}."
            )
        return cls(**{**state, "words": tuple(words)})

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    def _split(self, text: str) -> list[str]:
        return [word.lower() for word in _tokeniser(self.tokenise)(text)]

    def _cut(self, numbers: list[int], max_length: int | None) -> list[int]:
        if max_length is None:
            return numbers
        room = max_length - 2
        if room < 1:
            raise OptionError(f"max_length must be at least 3, for both marks and a word, got {max_length}.")
        longest = max_length if self.faithful else room
        return numbers if len(numbers) <= longest else numbers[:room]


def _strings(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)


@cache
def _tokeniser(name: str) -> Tokenise:
    return TOKENISERS[name]()
