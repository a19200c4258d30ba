"""Alignments of text tokens with what stretches of the text mean, and of words with their pieces."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from fuseloom.errors import DataError, OptionError
from fuseloom.types import Alignment

__all__ = ["Span", "align_spans", "align_words"]

_TOKENS = ("all", "first")


class Span(NamedTuple):
    """The characters ``start`` to ``stop`` (exclusive) of a text mean the object ``target``."""

    start: int
    stop: int
    target: int


def align_spans(
    spans: Sequence[Sequence[Span | tuple[int, int, int]]],
    offsets: Sequence[Sequence[Sequence[int]]],
    *,
    tokens: Literal["all", "first"] = "all",
) -> Alignment:
    """Align text tokens (source) with the objects (target) that character spans of the text mean.

    Args:
        spans: Those of each sample; they may overlap.
        offsets: Characters ``(start, stop)`` of each token of each sample, as a fast tokenizer gives with
            ``return_offsets_mapping=True``. A token without characters is aligned with nothing, and so is
            what was truncated.
        tokens: ``all`` that overlap a span, or only the ``first``.

    Raises:
        DataError: another number of samples, or a span without characters.
        OptionError: unknown ``tokens``.

    Example:
        >>> pairs = align_spans([[Span(2, 8, 3)]], [[(0, 0), (0, 1), (2, 5), (5, 8), (0, 0)]])
        >>> pairs.source_index, pairs.target_index
        (tensor([[2, 3]]), tensor([[3, 3]]))
    """
    if tokens not in _TOKENS:
        raise OptionError(f"tokens must be one of {list(_TOKENS)}, got {tokens!r}.")
    if len(spans) != len(offsets):
        raise DataError(f"offsets must be of {len(spans)} samples like spans, got {len(offsets)}.")
    end = 1 if tokens == "first" else None
    rows = []
    for sample, places in zip(spans, offsets, strict=True):
        found = [(_overlapping(Span(*span), places)[:end], span[2]) for span in sample]
        rows.append([(token, target) for covered, target in found for token in covered])
    return Alignment.from_pairs(rows)


def _overlapping(span: Span, offsets: Sequence[Sequence[int]]) -> list[int]:
    if not 0 <= span.start < span.stop or span.target < 0:
        raise DataError(f"A span must have characters and a target from 0, got {tuple(span)}.")
    places = ((number, int(start), int(stop)) for number, (start, stop) in enumerate(offsets))
    return [n for n, start, stop in places if start < stop and start < span.stop and span.start < stop]


def align_words(words: Sequence[Sequence[int | None]]) -> Alignment:
    """Align words (source) with the tokens (target) that they were split into.

    Args:
        words: Number of the word that each token of each sample is a piece of, None for special tokens, as a
            fast tokenizer's ``word_ids`` gives.

    Example:
        >>> align_words([[None, 0, 1, 1, None]]).target_index
        tensor([[1, 2, 3]])
    """
    return Alignment.from_pairs(
        [[(word, token) for token, word in enumerate(row) if word is not None] for row in words]
    )
