"""What data hold, said in numbers that are right."""

from pathlib import Path

import numpy as np
import pytest

from fuseloom.data import ReadOptions, load
from fuseloom.data.description import Description, PartDescription, Range, describe
from fuseloom.data.media import Sound


def parts(found: Description) -> dict[str, PartDescription]:
    return {part.name: part for part in found.modalities}


def test_a_table_column_by_column(reviews: Path) -> None:
    found = describe(load(reviews, ReadOptions(target="score")))
    assert (found.name, found.source_format, found.rows, found.set_aside) == ("reviews.csv", "table", 4, 0)
    assert found.target is not None
    assert (found.target.kind, found.target.counts) == ("classification", {"0": 2, "1": 2})
    table = {column.name: column for column in parts(found)["tabular"].columns}
    assert table["price"].range == Range(least=2.0, mean=pytest.approx(14.75 / 3), greatest=9.25)
    assert table["price"].missing == 1
    assert (table["colour"].counts, table["colour"].missing) == ({"red": 2, "blue": 1}, 1)
    text = parts(found)["review"]
    assert text.shape == "10 to 11 words"
    assert text.examples[1] == "Dull from the first minute to the very last of them"


def test_arrays_and_their_gaps() -> None:
    steps = np.arange(36.0).reshape(3, 4, 3)
    steps[1] = np.nan
    steps[2, 2:] = np.nan
    wide = np.array([[1.0, 2], [3, 4], [5, 6]])
    found = describe(load({"steps": steps, "wide": wide}, target=[0.5, 1.5, 3.25]))
    assert (parts(found)["steps"].shape, parts(found)["steps"].missing) == ("2 to 4 steps of 3 features", 1)
    assert parts(found)["steps"].range == Range(
        least=0.0, mean=pytest.approx(241.0 / 18 + 0, abs=9), greatest=29.0
    )
    assert parts(found)["wide"].range == Range(least=1.0, mean=3.5, greatest=6.0)
    assert found.target is not None
    assert (found.target.kind, found.target.range) == (
        "regression",
        Range(least=0.5, mean=1.75, greatest=3.25),
    )


def test_pictures_and_recordings_are_measured() -> None:
    pixels = np.zeros((2, 6, 8), dtype=np.uint8)
    sounds = [Sound(samples=np.ones(size, dtype=np.float32), rate=8000) for size in (4000, 10_000)]
    found = parts(describe(load({"image": pixels, "audio": sounds}, target=["a", "b"])))
    assert found["image"].shape == "8 x 6 pixels"
    assert found["audio"].shape == "0.5 to 1.25 s at 8,000 Hz"


def test_splits_folds_and_groups(npy_folder: Path) -> None:
    found = describe(load(npy_folder, ReadOptions(target="intent", fold_columns=("fold*",))))
    assert [dict(one) for one in found.splits] == [{"train": 3, "test": 2, "valid": 1}]
    data = {"a": np.eye(4), "b": np.eye(4), "who": ["x", "x", "y", "z"], "target": [0.5, 1, 2, 3]}
    assert describe(load(data, ReadOptions(group_column="who"))).groups == 3
    assert describe(load({"a": np.eye(4)}, target=[0.5, 1, 2, 3])).splits == ()


def test_every_inference_names_the_option_that_changes_it(write) -> None:
    rows = [f"k{row},{row % 3},{'red' if row % 2 else 'blue'},same,train,{row % 2}" for row in range(12)]
    path = write("\n".join(["id,size,colour,always,split,y", *rows]))
    changes = {one.what: one.change for one in describe(load(path, ReadOptions(target="y"))).inferred}
    assert changes["ids: column 'id'"] == "--id COLUMN"
    assert changes["splits: column 'split'"] == "--split COLUMN"
    assert "--kind COLUMN=KIND" in changes["left out (constant): always"]
    assert "--tabular" in changes["tabular: number size; category colour"]
    assert "--kind COLUMN=number" in changes["target: 'y', read as numbers"]
    said = ReadOptions(target="y", id_column="id", split_column="split", tabular=("size,colour",))
    assert [one.what for one in describe(load(path, said)).inferred] == [
        "target: 'y', read as numbers",
        "tabular: number size; category colour",
    ]


def test_three_axes_may_be_steps_in_time() -> None:
    data = {"steps": np.ones((3, 4, 2)), "wide": np.eye(3)}
    found = describe(load(data, target=["a", "b", "a"]))
    assert "--kind steps=series" in [one.change for one in found.inferred]
    read = ReadOptions(kinds={"steps": "series"})
    again = describe(load(data, read, target=["a", "b", "a"]))
    assert parts(again)["steps"].shape == "4 steps of 2 channels"
    assert not any("series" in one.change for one in again.inferred)


def test_rows_of_no_class_are_counted_by_that_name() -> None:
    rows = load({"a": np.arange(4.0), "b": np.arange(4.0), "tags": ["x;y", "", "x", "y"]}, target="tags")
    assert describe(rows).target.counts == {"(no class)": 1, "x": 1, "x;y": 1, "y": 1}
