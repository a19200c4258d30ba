import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.alignment import chain, flatten_choices
from fuseloom.errors import DataError
from fuseloom.types import Alignment

PAIRS = st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 3), st.floats(0.125, 2, width=32)), max_size=5)


@given(st.lists(st.tuples(PAIRS, PAIRS), min_size=1, max_size=3))
def test_a_chain_moves_tokens_as_its_two_parts_one_after_the_other(samples: list[tuple[list, list]]) -> None:
    first, second = (Alignment.from_pairs([sample[i] for sample in samples]) for i in (0, 1))
    values = torch.randn(len(samples), 4, 2)
    both = chain(first, second)
    torch.testing.assert_close(both.gather(values, 4), second.gather(first.gather(values, 4), 4))
    assert not both.real.numel() or both.real.sum(1).max() == both.real.shape[1]


def test_chained_alignments_have_the_same_samples() -> None:
    with pytest.raises(DataError, match=r"must have as many samples, got 1 and 2\.$"):
        chain(Alignment.from_pairs([[]]), Alignment.from_pairs([[], []]))


def test_choices_follow_their_streams_through_flattening() -> None:
    text, image = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 2, 5)  # questions, choices, tokens, width
    choices = [
        Alignment.from_pairs([[(choice, 0), (3, 1)][: choice + 1], [(question, 1)]])
        for choice, question in enumerate((1, 0, 2))
    ]
    flat = flatten_choices(choices).gather(text.flatten(0, 1), 2)
    apart = torch.stack([choice.gather(text[:, n], 2) for n, choice in enumerate(choices)], 1)
    torch.testing.assert_close(flat.view_as(image), apart)


@pytest.mark.parametrize(
    ("choices", "message"),
    [([], r"got \[\]"), ([Alignment.from_pairs([[]]), Alignment.from_pairs([[], []])], r"got \[1, 2\]")],
)
def test_choices_of_other_questions_are_refused(choices: list[Alignment], message: str) -> None:
    with pytest.raises(DataError, match=f"^choices must be of one number of questions, {message}"):
        flatten_choices(choices)
