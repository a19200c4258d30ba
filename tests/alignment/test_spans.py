from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.alignment import Span, align_spans, align_words
from fuseloom.errors import DataError, OptionError
from fuseloom.types import Alignment

OFFSETS = [(0, 0), (0, 3), (4, 6), (6, 9), (10, 11), (0, 0)]  # [CLS] two dog ##gies . [SEP]


def pairs(alignment: Alignment, sample: int = 0) -> list[tuple[int, int]]:
    indices = (alignment.source_index[sample].tolist(), alignment.target_index[sample].tolist())
    return [pair for pair in zip(*indices, strict=True) if pair[0] >= 0]


@pytest.mark.parametrize(("tokens", "expected"), [("all", [(2, 1), (3, 1)]), ("first", [(2, 1)])])
def test_a_span_is_aligned_with_the_tokens_that_it_overlaps(
    tokens: Any, expected: list[tuple[int, int]]
) -> None:
    assert pairs(align_spans([[Span(4, 9, 1)]], [OFFSETS], tokens=tokens)) == expected


@given(st.integers(0, 11), st.integers(1, 12), st.integers(0, 5))
def test_tokens_of_a_span_are_those_that_share_a_character(start: int, more: int, target: int) -> None:
    span = Span(start, start + more, target)
    shared = [n for n, (a, b) in enumerate(OFFSETS) if set(range(a, b)) & set(range(start, start + more))]
    assert pairs(align_spans([[span]], [OFFSETS])) == [(token, target) for token in shared]


def test_samples_are_padded_and_what_was_truncated_is_aligned_with_nothing() -> None:
    spans = [[(4, 9, 0), (0, 3, 2)], [(4, 9, 0)], []]
    alignment = align_spans(spans, [OFFSETS, OFFSETS[:2], OFFSETS])
    assert [pairs(alignment, sample) for sample in range(3)] == [[(2, 0), (3, 0), (1, 2)], [], []]


@pytest.mark.parametrize("span", [(3, 3, 0), (4, 2, 0), (-1, 2, 0), (0, 2, -1)])
def test_a_span_without_characters_or_target_is_refused(span: tuple[int, int, int]) -> None:
    with pytest.raises(DataError, match="A span must have characters and a target from 0, got"):
        align_spans([[span]], [OFFSETS])


def test_wrong_options_are_refused() -> None:
    with pytest.raises(DataError, match=r"^offsets must be of 1 samples like spans, got 2\.$"):
        align_spans([[]], [OFFSETS, OFFSETS])
    with pytest.raises(OptionError, match=r"^tokens must be one of \['all', 'first'\], got 'last'\.$"):
        align_spans([[]], [OFFSETS], tokens="last")  # type: ignore[arg-type]


def test_words_are_aligned_with_their_pieces() -> None:
    alignment = align_words([[None, 0, 0, 1, None], [None, 0, None]])
    assert [pairs(alignment, sample) for sample in (0, 1)] == [[(0, 1), (0, 2), (1, 3)], [(0, 1)]]
