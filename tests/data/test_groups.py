import numpy as np
import pytest

from fuseloom.data import ReadOptions, load
from fuseloom.data.groups import divided, divided_notes, groups_of, kept_apart
from fuseloom.data.source import Source
from fuseloom.data.values import embedding
from fuseloom.errors import DataError


def words(*values: str) -> np.ndarray:
    return np.array(values, dtype=object)


def source(*, split: str = "split", who: tuple[str, ...] = ("ann", "bob", "ann", "cid")) -> Source:
    return Source(
        name="talks",
        source_format="talks",
        ids=list("abcd"),
        places=list("abcd"),
        arrays={"voice": embedding("voice", np.arange(8.0).reshape(4, 2))},
        labels={
            "mood": words("+", "-", "+", "-"),
            "speaker": words(*who),
            split: words(*["train"] * 2, *["test"] * 2),
        },
        target="mood",
        target_kind="category",
        split_column=split,
        grouping="speaker",
    )


def test_groups_in_two_splits_are_divided() -> None:
    split = words("train", "test", "valid", "train", "test")
    assert divided(words("a", "a", "b", "b", "c"), split) == {"a": ["test", "train"], "b": ["train", "valid"]}


def test_a_note_says_what_keeps_them_apart() -> None:
    rows = load(source(split="part"))
    assert groups_of(rows).tolist() == ["ann", "bob", "ann", "cid"]
    assert rows.groups is None
    assert rows.notes[-1] == (
        "1 of 3 of 'speaker' stand in two splits: scores say nothing of new ones; for a split between them: "
        "--group speaker --kind part=ignore"
    )


def test_nothing_is_said_of_a_split_between_groups() -> None:
    assert list(divided_notes(load(source(who=("ann", "ann", "bob", "cid"))))) == []


@pytest.mark.parametrize(
    "options",
    [
        ReadOptions(kinds={"split": "ignore"}),
        ReadOptions(kinds={"split": "ignore"}, group_column="speaker"),
        ReadOptions(group_column="speaker"),
    ],
    ids=["no split", "groups", "groups in a split"],
)
def test_nothing_is_said_where_there_is_no_split_or_groups_are_asked_for(options: ReadOptions) -> None:
    rows = load(source(), options)
    assert list(divided_notes(rows)) == []
    assert (rows.split is None) == ("split" in options.kinds)


def test_without_a_split_the_group_is_all_to_say() -> None:
    assert kept_apart(load(source(), ReadOptions(kinds={"split": "ignore"}))) == "--group speaker"


def test_labels_of_rows_that_are_used_stay_beside_them() -> None:
    labels = load(source()).labels
    assert {name: cells.tolist() for name, cells in labels.items()} == {
        "mood": ["+", "-", "+", "-"],
        "speaker": ["ann", "bob", "ann", "cid"],
        "split": ["train", "train", "test", "test"],
    }


def test_what_a_reader_gave_is_loaded_as_it_is_and_has_its_target() -> None:
    assert load(source(), target="speaker").target.tolist() == ["ann", "bob", "ann", "cid"]
    with pytest.raises(DataError, match=r"target must be given once, got values and an entry 'mood'"):
        load(source(), target=[0, 1, 0, 1])
