import pytest

from fuseloom.alignment import named_alignments
from fuseloom.errors import OptionError
from fuseloom.types import Alignment

ONE, OTHER = Alignment.from_pairs([[(0, 1)]]), Alignment.from_pairs([[(2, 3)]])


def test_one_alone_is_of_the_first_modality_to_the_second() -> None:
    found = named_alignments(ONE, ["text", "image"], batch=1)
    assert found["image_from_text"] is ONE
    assert found["text_from_image"].source_index.tolist() == [[1]]


@pytest.mark.parametrize("order", [("b_from_a", "a_from_b"), ("a_from_b", "b_from_a")])
def test_one_given_for_the_other_way_is_taken(order: tuple[str, str]) -> None:
    given = dict(zip(order, (ONE, OTHER), strict=True))
    assert named_alignments(given, ["a", "b", "c"], batch=1) == given


def test_nothing_given_is_nothing_aligned() -> None:
    assert named_alignments(None, ["a", "b"], batch=4) == {}


@pytest.mark.parametrize(
    ("given", "batch", "message"),
    [
        (ONE, 1, r"must name its modalities where there are 3, got one alone\. Pass \{'b_from_a': \.\.\.\}"),
        ({"b_from_d": ONE}, 1, r"^alignment must be of known pairs, got 'b_from_d'\. Did you mean 'b_from_"),
        ({"b_from_a": ONE}, 2, r"^alignment\['b_from_a'\] must have 2 samples like the streams, got 1\.$"),
    ],
)
def test_what_does_not_fit_is_refused(given: object, batch: int, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        named_alignments(given, ["a", "b", "c"], batch=batch)  # type: ignore[arg-type]
