from itertools import pairwise

import numpy as np
import pytest

from fuseloom.metrics.spans import entity_spans
from fuseloom.tasks._joining import place_to_join


def joined(left: str, right: str, start: int) -> str:
    """Tags by their letters: B and I of one type, b and i of another, - of none."""
    names = {"-": "O", "B": "B-PER", "I": "I-PER", "b": "B-LOC", "i": "I-LOC"}
    place = place_to_join([names[tag] for tag in left], [names[tag] for tag in right], start)
    return left[:place] + right[place - start :]


@pytest.mark.parametrize(
    ("left", "right", "start", "whole"),
    [
        ("--------", "----B---", 4, "--------B---"),  # nothing at the border
        ("----bB--", "Bb------", 4, "----bB------"),  # each has more around it in the one that counts
        ("-----BII", "-BII----", 4, "-----BII----"),  # both have seen it whole
        ("-----BII", "--------", 4, "-----BII----"),  # the first has, and the second finds nothing
        ("--------", "-BII----", 4, "-----BII----"),  # only the second finds it
        ("-----BII", "-BIII---", 4, "-----BIII---"),  # it goes on behind what the first has read
        ("---BIII-", "III-----", 4, "---BIII-----"),  # the second has read its end alone
        ("-----BI-", "---II---", 4, "-------II---"),  # two that would run together are not put together
    ],
)
def test_an_entity_at_the_border_stays_whole(left: str, right: str, start: int, whole: str) -> None:
    assert joined(left, right, start) == whole


def test_where_every_place_divides_an_entity_it_is_the_middle() -> None:
    assert place_to_join(["B-PER", *["I-PER"] * 7], ["I-PER"] * 8, 4) == 6
    assert joined("BIIIIIII", "IIIIIII-", 4) == "BIIIIIIIIII-"


@pytest.mark.parametrize("seed", range(30))
def test_no_entity_is_there_that_neither_has_seen(seed: int) -> None:
    generator = np.random.default_rng(seed)
    left, right = ("".join(generator.choice([*"---BIbi"], 12)) for _ in range(2))
    names = {"-": "O", "B": "B-PER", "I": "I-PER", "b": "B-LOC", "i": "I-LOC"}
    tags = [[names[tag] for tag in text] for text in (left, right)]
    place = place_to_join(*tags, 6)
    assert 6 <= place <= 12
    seen = {(s.type, s.start, s.end) for s in entity_spans(tags[0])}
    seen |= {(s.type, s.start + 6, s.end + 6) for s in entity_spans(tags[1])}
    found = entity_spans([*tags[0][:place], *tags[1][place - 6 :]])
    assert {(s.type, s.start, s.end) for s in found} <= seen
    assert all(one.end <= other.start for one, other in pairwise(found))
