from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fuseloom.data import ModalitySpec, ReadOptions, load, read_rows
from fuseloom.errors import DataError

OPTIONS = ReadOptions(target="score", text=("review",), tabular=("price,colour",))


def lines(*rows: str) -> str:
    return "\n".join(["id,review,price,colour,score,fold", *rows])


GOOD = [f"{i},fine {i},{i}.5,red,{i % 2},train" for i in range(30)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("99,x,cheap,red,1,train", "column 'price' must be a finite number, got 'cheap'"),
        ("99,x,inf,red,1,train", "column 'price' must be a finite number, got 'inf'"),
        ("99,x,1,red,,train", "target 'score' must be known, got no value"),
        ("99,x,1,red,nan,train", "target 'score' must be known, got no value"),
        ("99,x,1,red,-inf,train", "target 'score' must be known, got '-inf'"),
        ("99,x,1,red,good,train", "target 'score' must be known, got 'good'"),
        ("99,x,1,red,1,later", "split must be train, valid or test, got 'later'"),
        ("99,x,1,red,1,", "split must be train, valid or test, got no value"),
        (f"99,x,{'y' * 90},red,1,train", f"column 'price' must be a finite number, got '{'y' * 56}..."),
    ],
)
def test_a_row_that_cannot_be_used_is_set_aside_with_its_reason(write, row: str, reason: str) -> None:
    options = ReadOptions(target="score", text=("review",), tabular=("price,colour",), split_column="fold")
    rows = load(write(lines(*GOOD[:5], row, *GOOD[5:])), options)
    assert [(aside.where, aside.reason) for aside in rows.set_aside] == [("reviews.csv:7", reason)]
    assert rows.ids == [str(i) for i in range(30)]
    tabular, review = rows.modalities["tabular"], rows.modalities["review"]
    assert tabular.numbers["price"].tolist() == [i + 0.5 for i in range(30)]
    assert review.values.tolist() == [f"fine {i}" for i in range(30)]
    assert len(tabular) == len(review) == len(rows.target) == len(rows.split) == len(rows)


def test_arrays_lose_the_rows_set_aside_too(npy_folder: Path) -> None:
    rows = load({"a": np.arange(6).reshape(3, 2), "b": np.ones((3, 1))}, target=[1.0, np.nan, 2.0])
    assert rows.modalities["a"].values.tolist() == [[0, 1], [4, 5]]
    assert rows.modalities["a"].mask.tolist() == [True, True]
    assert rows.set_aside[0].where == "row 1"


def test_a_class_that_is_missing_sets_the_row_aside(write) -> None:
    rows = load(write("review,price,score\nfine,1,yes\ngood,2,\nbad,3,no\n"),
                ReadOptions(target="score", text=("review",), tabular=("price",)))  # fmt: skip
    assert rows.target.tolist() == ["yes", "no"]
    assert [aside.where for aside in rows.set_aside] == ["reviews.csv:3"]


def test_rows_set_aside_while_reading_are_counted_too(write) -> None:
    rows = load(write(lines(*GOOD, "1,2", "99,x,cheap,red,1,train")), OPTIONS)
    assert [aside.where for aside in rows.set_aside] == ["reviews.csv:32", "reviews.csv:33"]


def test_without_a_usable_row_the_first_reason_is_told(write) -> None:
    path = write("review,price,score\nfine,1,\ngood,2,NaN\n")
    with pytest.raises(
        DataError,
        match=r"at least one usable row, got 2 set aside, the first reviews.csv:2: target 'score' must be",
    ):
        load(path, ReadOptions(target="score", text=("review",), tabular=("price",)))


def test_new_rows_keep_an_unknown_target(write) -> None:
    schema = load(write(lines(*GOOD)), OPTIONS).schema
    rows = read_rows(write(lines("7,x,1,red,oops,", "8,y,2,blue,3,"), name="new.csv"), schema)
    np.testing.assert_array_equal(rows.target, [np.nan, 3])
    assert rows.ids == ["7", "8"]
    assert rows.split is None
    assert not rows.set_aside


SPLIT = ReadOptions(target="score", text=("review",), tabular=("price,colour",), split_column="fold")


def test_new_rows_say_which_split_they_are_of(write) -> None:
    schema = load(write(lines(*GOOD)), SPLIT).schema
    new = ("a,x,1,red,1,test", "b,y,cheap,red,0,test", "c,z,2,red,1,later", "d,z,3,red,,dev", "e,z,4,red,0,")
    rows = read_rows(write(lines(*new), name="new.csv"), schema)
    assert (rows.ids, list(rows.split)) == (["a", "c", "d", "e"], ["test", "", "valid", ""])
    assert [aside.where for aside in rows.set_aside] == ["new.csv:3"]


@pytest.mark.parametrize("row", ["a,x,1,red,1,later", "a,x,1,red,1,"])
def test_new_rows_of_which_none_says_its_split_have_none(write, row: str) -> None:
    schema = load(write(lines(*GOOD)), SPLIT).schema
    assert read_rows(write(lines(row), name="new.csv"), schema).split is None
    bare = write("review,price,colour,score\nx,1,red,1\n", name="bare.csv")
    assert read_rows(bare, schema).split is None


def test_rows_without_an_id_are_named_by_their_number(write) -> None:
    schema = load(write(lines(*GOOD)), OPTIONS).schema
    assert read_rows(write(lines("a,x,1,red,1,", ",y,2,blue,3,"), name="new.csv"), schema).ids == ["a", "1"]
    assert read_rows(write("review\nx\ny\n", name="new.csv"), schema).ids == ["0", "1"]


def test_a_part_of_a_modality_is_refused(write) -> None:
    schema = load(write(lines(*GOOD)), OPTIONS).schema
    with pytest.raises(
        DataError,
        match=r"all columns of modality 'tabular' or none, got no 'colour'\. Did you mean 'color'\?",
    ):
        read_rows(write("review,price,color\nx,1,red\n", name="new.csv"), schema)


def test_rows_without_any_modality_are_refused(write) -> None:
    schema = load(write(lines(*GOOD)), OPTIONS).schema
    with pytest.raises(
        DataError,
        match=r"new.csv must have a modality of \['review', 'tabular'\], got none .* found \['a', 'b'\]",
    ):
        read_rows(write("a,b\n1,2\n", name="new.csv"), schema)


def test_pictures_of_a_set_are_maps_of_numbers_where_the_schema_says_so():
    rows = load("scenes-seg", ReadOptions(target="label"))
    maps = {"normals": ModalitySpec(kind="map"), "rgb": ModalitySpec(kind="image")}
    again = read_rows("scenes-seg", replace(rows.schema, modalities=maps))
    assert {name: one.kind for name, one in again.modalities.items()} == {"normals": "map", "rgb": "image"}
