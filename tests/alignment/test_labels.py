from typing import Any

import pytest

from fuseloom.alignment import find_labels
from fuseloom.errors import OptionError


def found(text: str, labels: list[str], **options: Any) -> list[tuple[str, int]]:
    return [(text[span.start : span.stop], span.target) for span in find_labels(text, labels, **options)]


@pytest.mark.parametrize(
    ("text", "label", "expected"),
    [
        ("A Dog barks", "dog", "Dog"),
        ("two dogs", "dog", "dogs"),
        ("three buses", "bus", "buses"),
        ("sharp knives", "knife", "knives"),
        ("dead leaves", "leaf", "leaves"),
        ("cherries", "cherry", "cherries"),
        ("some people", "person", "people"),
        ("mice and men", "mouse", "mice"),
        ("a pair of scissors", "scissors", "scissors"),
        ("a potted plant", "pottedplant", "potted plant"),
        ("the wine-glasses", "wineglass", "wine-glasses"),
        ("a teddybear", "teddy bear", "teddybear"),
    ],
)
def test_a_name_is_found_in_its_forms(text: str, label: str, expected: str) -> None:
    assert found(text, [label]) == [(expected, 0)]


@pytest.mark.parametrize("text", ["a doggy", "underdog", "", "12 % !"])
def test_what_is_no_name_is_not_found(text: str) -> None:
    assert found(text, ["dog"]) == []


def test_the_longest_name_wins_and_spans_do_not_overlap() -> None:
    text = "a hot dog beside a dog"
    assert found(text, ["dog", "hotdog"]) == [("hot dog", 1), ("dog", 0)]


@pytest.mark.parametrize(
    ("ambiguous", "expected"), [("all", [("cup", 1), ("cup", 2)]), ("first", [("cup", 1)]), ("none", [])]
)
def test_what_a_shared_name_means_is_a_policy(ambiguous: Any, expected: list[tuple[str, int]]) -> None:
    labels = ["dog", "cup", "cup"]
    assert found("a cup by a dog", labels, ambiguous=ambiguous) == [*expected, ("dog", 0)]


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^ambiguous must be one of \['all', 'first', 'none'\], got 'two'"):
        find_labels("", [], ambiguous="two")  # type: ignore[arg-type]
