from typing import Any

import pytest

from fuseloom.alignment import render_tags
from fuseloom.errors import DataError, OptionError

LABELS = ["person", "teddybear", "person"]


@pytest.mark.parametrize(
    ("style", "text", "mentions"),
    [
        ("token", "<|det2|> and <|det0|> hug <|det1|> .", ["<|det2|>", "<|det0|>", "<|det1|>"]),
        ("label", "person 2 and person 1 hug teddybear 1 .", ["person 2", "person 1", "teddybear 1"]),
        ("name", "Jessie and Casey hug teddybear .", ["Jessie", "Casey", "teddybear"]),
    ],
)
def test_mentions_stand_where_their_spans_say(style: Any, text: str, mentions: list[str]) -> None:
    tagged = render_tags([[2, 0], "hug", [1], "."], LABELS, style=style)
    assert tagged.text == text
    assert [tagged.text[span.start : span.stop] for span in tagged.spans] == mentions
    assert [span.target for span in tagged.spans] == [2, 0, 1]


def test_names_are_fifteen_and_start_again() -> None:
    tagged = render_tags([[15], [16]], ["person"] * 17, style="name")
    assert tagged.text == "Casey Riley"


@pytest.mark.parametrize("tag", [[3], [-1], []])
def test_a_tag_of_no_object_is_refused(tag: list[int]) -> None:
    with pytest.raises(DataError, match="A tag must name some of 3 objects from 0, got"):
        render_tags([tag], LABELS)


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^style must be one of \['label', 'name', 'token'\], got 'x'\.$"):
        render_tags([], LABELS, style="x")  # type: ignore[arg-type]
