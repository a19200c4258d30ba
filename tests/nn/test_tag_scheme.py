from itertools import pairwise, product

import pytest

from fuseloom.errors import OptionError, UnknownNameError
from fuseloom.nn.tag_scheme import TAG_SCHEMES, tag_constraints

BIO = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def segment(scheme: str, kind: str, size: int) -> list[str]:
    letters = {part: letter for letter, part in TAG_SCHEMES[scheme].items()}
    if size == 1:
        return [f"{letters.get('single', letters['begin'])}-{kind}"]
    last = letters.get("end", letters["inside"])
    return [f"{letters['begin']}-{kind}", *[f"{letters['inside']}-{kind}"] * (size - 2), f"{last}-{kind}"]


def written(scheme: str, length: int) -> set[tuple[str, ...]]:
    """Every sequence of segments of two types, and of what is outside, put down in a scheme."""
    if length == 0:
        return {()}
    found = {("O", *rest) for rest in written(scheme, length - 1)}
    for size, kind in product(range(1, length + 1), ("PER", "LOC")):
        found |= {(*segment(scheme, kind, size), *rest) for rest in written(scheme, length - size)}
    return found


@pytest.mark.parametrize("scheme", sorted(TAG_SCHEMES))
def test_paths_that_are_allowed_are_those_that_segments_are_written_as(scheme: str) -> None:
    tags = ["O", *(f"{letter}-{kind}" for kind in ("PER", "LOC") for letter in TAG_SCHEMES[scheme])]
    allowed = tag_constraints(tags, scheme=scheme)
    for length in (1, 2, 4):
        found = {
            tuple(tags[k] for k in path)
            for path in product(range(len(tags)), repeat=length)
            if allowed.start[path[0]]
            and allowed.end[path[-1]]
            and all(allowed.transitions[a, b] for a, b in pairwise(path))
        }
        assert found == written(scheme, length)


def test_free_tags_may_stand_anywhere() -> None:
    plain, more = tag_constraints(BIO), tag_constraints([*BIO, "X"], free={"X"})
    assert more.transitions[:5, :5].equal(plain.transitions)
    assert more.transitions[5].all()
    assert more.transitions[:, 5].all()
    assert more.start.tolist() == [True, True, False, True, False, True]
    assert more.end.all()


def test_types_may_hold_hyphens() -> None:
    allowed = tag_constraints(["B-a-b", "I-a-b", "I-a"])
    assert allowed.transitions[0].tolist() == [True, True, False]


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"^Unknown tag scheme 'bioe'\. Did you mean 'bioes'\?"):
        tag_constraints(BIO, scheme="bioe")


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ([], r"^tags must be one or more, each once, got \[\]\.$"),
        (["O", "O"], r"^tags must be one or more, each once, got \['O', 'O'\]\.$"),
        (
            ["O", "X"],
            r"^tags must be 'O' or a type after one of \['B-', 'I-'\], got 'X'\. Name it in free if",
        ),
        (["O", "E-PER"], r"got 'E-PER'\. .* or choose another scheme\.$"),
        (["O", "B"], r"got 'B'\."),
    ],
)
def test_tags_outside_the_scheme_are_refused(tags: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        tag_constraints(tags)
