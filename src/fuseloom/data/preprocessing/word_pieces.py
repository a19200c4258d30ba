"""Text as the word pieces of a language model, each with the word that it is of."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Text
from fuseloom.data.preprocessing._base import Encoded, Preprocessor
from fuseloom.data.preprocessing._windows import Windows, find_windows
from fuseloom.encoders.hf import load_tokenizer

__all__ = ["WordPiecePreprocessor"]

_LONGEST = 128
_DEFAULT = "bert-base-uncased"


@dataclass(frozen=True, kw_only=True)
class WordPiecePreprocessor(Preprocessor):
    """Word pieces ``[N, T, 2]``: ids of a model's own tokenizer, and the number of the word, -1 of marks.

    Words stand between single blanks, and each is divided alone; one that has no piece, such as an invisible
    character, gets the piece of the unknown. ``T`` is that of the longest training text, and longer ones are
    cut behind a whole word, or read in windows. A text that is missing or blank is masked as a whole.

    It is made for tags of words, of which none may be lost. The pieces that official checkpoints of MuSE tag
    one by one are those of `fuseloom.data.muse_features.word_pieces`.
    """

    kind = "word-pieces"
    reads = "text"
    rows_at_once: ClassVar[int] = 1024
    model: str
    """Name or folder of the model whose tokenizer it is."""
    length: int
    num_words: int

    @classmethod
    def fit(
        cls, modality: Text, rows: NDArray[np.intp], *, model: str = _DEFAULT, max_length: int = _LONGEST
    ) -> Self:
        """Learn the lengths, at most ``max_length`` pieces; count the texts, of all rows, that are cut."""
        cutter = _Cutter(model)
        learnt = [cutter(text) for text in modality.values[rows]]
        marks = len(cutter.before) + len(cutter.behind)
        length = min(max_length, max((marks + sum(map(len, words)) for words in learnt), default=0))
        length = max(length, marks + 1)
        kept = [_whole(words, length - marks) for words in learnt]
        every = [cutter(text) for text in modality.values]
        num_words = max([1, *map(len, kept)])
        cut = sum(len(_whole(words, length - marks)[:num_words]) < len(words) for words in every)
        notes = (f"{cut} of {len(modality)} texts are cut after {length} pieces in training",) if cut else ()
        return cls(model=model, length=length, num_words=num_words, notes=notes)

    def apply(self, modality: Text) -> Encoded:
        """Pieces ``[N, T, 2]``, zero behind the end, and their mask ``[N, T]``."""
        cutter = _Cutter(self.model)
        room = self._room(cutter)
        values = np.zeros((len(modality), self.length, 2), dtype=np.int64)
        values[..., 1] = -1
        mask = np.zeros(values.shape[:2], dtype=np.bool_)
        for row, text in enumerate(modality.values):
            words = _whole(cutter(text), room)[: self.num_words]
            if not words:
                continue
            pieces = [(piece, number) for number, word in enumerate(words) for piece in word]
            whole = [
                *((mark, -1) for mark in cutter.before),
                *pieces,
                *((mark, -1) for mark in cutter.behind),
            ]
            values[row, : len(whole)], mask[row, : len(whole)] = whole, True
        return values, mask

    def windows(self, modality: Text) -> dict[int, Windows]:
        """How texts of more pieces or words than are read at once are divided."""
        cutter = _Cutter(self.model)
        sizes = ([len(word) for word in cutter(text)] for text in modality.values)
        found = (find_windows(each, room=self._room(cutter), most=self.num_words) for each in sizes)
        return {row: windows for row, windows in enumerate(found) if windows is not None}

    def keep(self, folder: Path) -> None:
        """Write the tokenizer."""
        load_tokenizer(self.model).save_pretrained(folder)

    def found(self, folder: Path) -> Self:
        """The same, with the tokenizer of that folder."""
        return replace(self, model=str(folder)) if folder.is_dir() else self

    def encoder_options(self) -> dict[str, Any]:
        """The model, and most words of a text."""
        return {"model": self.model, "num_words": self.num_words}

    def _room(self, cutter: "_Cutter") -> int:
        """Most pieces of a text, without marks."""
        return self.length - len(cutter.before) - len(cutter.behind)


class _Cutter:
    """Divides words into pieces as a model's tokenizer does, each once."""

    def __init__(self, model: str) -> None:
        self.tokenizer = load_tokenizer(model)
        unknown = self.tokenizer.unk_token_id
        self.unknown = [0 if unknown is None else unknown]
        self.known: dict[str, list[int]] = {}
        self.before, self.behind = self._marks()

    def __call__(self, text: str | None) -> list[list[int]]:
        words = text.split(" ") if text and text.strip(" ") else []
        return [self._pieces(word) for word in words]

    def _marks(self) -> tuple[list[int], list[int]]:
        """What the tokenizer puts before and behind a text."""
        marked, plain = self.tokenizer("a")["input_ids"], self.tokenizer("a", add_special_tokens=False)
        count = len(plain["input_ids"])
        at = next(n for n in range(len(marked)) if marked[n : n + count] == plain["input_ids"])
        return marked[:at], marked[at + count :]

    def _pieces(self, word: str) -> list[int]:
        if word not in self.known:
            # Behind a blank, as in the middle of a sentence: some tokenizers mark where a word begins.
            found = self.tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
            self.known[word] = found or self.unknown
        return self.known[word]


def _whole(words: list[list[int]], room: int) -> list[list[int]]:
    """The first words that fit."""
    ends = np.cumsum([len(word) for word in words])
    return words[: int(np.searchsorted(ends, room, side="right"))]
