"""What MuSE reads: word pieces with the tags of their words, and pictures squeezed into a square."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.media import read_image, read_item
from fuseloom.errors import DataError, MissingExtraError, OptionError, did_you_mean

__all__ = ["IMAGE_MEAN", "IMAGE_STD", "PieceRows", "square_picture", "word_pieces"]

IMAGE_MEAN = (0.48, 0.498, 0.531)
IMAGE_STD = (0.214, 0.207, 0.207)
"""What MuSE subtracts and divides by, per channel; not the constants its ResNet was trained with."""

_OUTSIDE = "O"
_FURTHER = "X"
_MARKS = 2
"""Of the start and the end of a sentence."""


@dataclass(frozen=True, kw_only=True)
class PieceRows:
    """Sentences as word pieces ``[N, T]``, between a mark of the start and one of the end."""

    ids: NDArray[np.int64]
    mask: NDArray[np.bool_]
    """True on pieces and marks."""
    segments: NDArray[np.int64]
    words: NDArray[np.int64]
    """Place of the word in its sentence; -1 on marks and padding."""
    tags: NDArray[np.int64] | None
    """Place of the tag in the labels: a word's on its first piece, ``X`` on further ones, ``O`` on marks."""
    num_words: tuple[int, ...]
    """Of each sentence, with those that have no piece or were cut off."""
    cut: int
    """Sentences that had more pieces than there was room for."""

    @property
    def first(self) -> NDArray[np.bool_]:
        """True on the first piece of a word ``[N, T]``."""
        before = np.pad(self.words[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
        return np.asarray((self.words >= 0) & (self.words != before))

    def tags_of_words(self, found: NDArray[np.integer[Any]], labels: Sequence[str]) -> list[list[str]]:
        """Tags of words from those of pieces ``[N, T]``: that of the first piece, ``O`` where there is none.

        Args:
            found: Places in the labels.
            labels: Names of the tags.
        """
        rows = []
        for row, count in enumerate(self.num_words):
            tags = [_OUTSIDE] * count
            for place in np.flatnonzero(self.first[row]):
                tags[self.words[row, place]] = labels[found[row, place]]
            rows.append(tags)
        return rows


def word_pieces(
    texts: Sequence[str | None],
    tokenizer: Any,
    *,
    tags: Sequence[Sequence[str]] | None = None,
    labels: Sequence[str] = (),
    length: int = 64,
    faithful: bool = False,
) -> PieceRows:
    """Cut each word into pieces by itself, and give each piece its tag, as official checkpoints of MuSE do.

    There every piece is tagged, so that the labels, and what is scored, are of pieces. Models of recipes tag
    words, which `WordPiecePreprocessor` numbers: no word vanishes there, and none is cut in two.

    A word without a piece, such as a zero-width character, vanishes. What does not fit is cut off and
    counted. A text that is missing has two marks only.

    Args:
        texts: Words with one blank between them.
        tokenizer: Of Hugging Face transformers, for BERT or one of its kind.
        tags: Of the words of each text.
        labels: Their names; with ``X``, and with ``O`` for the marks, and, as the first, for the padding.
        length: ``T``.
        faithful: Give the mark of the start the segment 1, as the official code does.

    Raises:
        DataError: a tag that is no label, or not one for each word.
        OptionError: labels without ``O`` or ``X``, or no room for a piece.
    """
    if length <= _MARKS:
        raise OptionError(f"length must be at least {_MARKS + 1}, for two marks and a piece, got {length}.")
    if tags is not None and not {_OUTSIDE, _FURTHER} <= set(labels):
        raise OptionError(f"labels must hold 'O' and 'X', got {list(labels)}.")
    split = [text.split(" ") if text else [] for text in texts]
    whole = _pieces(split, tokenizer)
    kept = [pieces[: length - _MARKS] for pieces in whole]
    start, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    ids = [[start, *(piece for piece, _ in pieces), end] for pieces in kept]
    words = [[-1, *(word for _, word in pieces), -1] for pieces in kept]
    segments = np.zeros((len(split), length), dtype=np.int64)
    segments[:, 0] = faithful
    rows = PieceRows(
        ids=_padded(ids, length, tokenizer.pad_token_id),
        mask=np.arange(length) < np.array([len(row) for row in ids], dtype=np.intp)[:, None],
        segments=segments,
        words=_padded(words, length, -1),
        tags=None,
        num_words=tuple(map(len, split)),
        cut=sum(len(pieces) > length - _MARKS for pieces in whole),
    )
    return rows if tags is None else _tagged(rows, tags, labels)


def square_picture(item: Any, size: int) -> NDArray[np.float32]:
    """Pixels ``[3, size, size]`` of a picture, its sides squeezed to one length, normalised as MuSE does.

    Args:
        item: A picture, see `fuseloom.data.media`.
        size: 224 for what is encoded, 32 for what is painted.

    Raises:
        DataError: it cannot be read.
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError(
            "Resizing pictures needs Pillow. Install it with: pip install 'fuseloom[vision]'"
        ) from None
    picture = Image.fromarray(read_item(read_image, item))
    pixels = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR), dtype=np.float32) / 255
    mean, std = (np.array(values, dtype=np.float32) for values in (IMAGE_MEAN, IMAGE_STD))
    return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1))


def _pieces(sentences: Sequence[Sequence[str]], tokenizer: Any) -> list[list[tuple[int, int]]]:
    """Number of each piece, and the place of its word; each word is cut once, wherever it stands."""
    known = {
        word: tokenizer.convert_tokens_to_ids(tokenizer.tokenize(word))
        for word in {word for words in sentences for word in words}
    }
    return [[(piece, at) for at, word in enumerate(words) for piece in known[word]] for words in sentences]


def _padded(rows: Sequence[Sequence[int]], length: int, fill: int) -> NDArray[np.int64]:
    out = np.full((len(rows), length), fill, dtype=np.int64)
    for row, values in enumerate(rows):
        out[row, : len(values)] = values
    return out


def _tagged(rows: PieceRows, tags: Sequence[Sequence[str]], labels: Sequence[str]) -> PieceRows:
    """The same with tags."""
    numbers = {label: number for number, label in enumerate(labels)}
    found = np.zeros(rows.ids.shape, dtype=np.int64)
    found[rows.mask & (rows.words < 0)] = numbers[_OUTSIDE]
    found[(rows.words >= 0) & ~rows.first] = numbers[_FURTHER]
    for row, own in enumerate(tags):
        if len(own) != rows.num_words[row]:
            raise DataError(f"tags must be {rows.num_words[row]} in row {row}, one per word, got {len(own)}.")
        if unknown := [tag for tag in own if tag not in numbers]:
            raise DataError(f"tags must be labels, got {unknown[0]!r}.{did_you_mean(unknown[0], labels)}")
        places = np.flatnonzero(rows.first[row])
        found[row, places] = [numbers[own[word]] for word in rows.words[row, places]]
    return replace(rows, tags=found)
