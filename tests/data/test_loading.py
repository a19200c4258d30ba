import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fuseloom.data import ReadOptions, Table, Text, load, read_rows
from fuseloom.data.state import schema_from_state, schema_state
from fuseloom.errors import DataError, ModalityError, UnknownNameError
from fuseloom.tasks.multilabel import Multilabel


def test_without_a_source_the_digits_are_loaded(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    for source in (None, "digits"):
        rows = load(source)
        assert (rows.name, len(rows), sorted(rows.modalities)) == ("digits", 1797, ["bottom", "top"])
        assert sorted(set(rows.target)) == list("0123456789")


def test_a_table_is_loaded(reviews: Path) -> None:
    rows = load(reviews, target="score")
    assert rows.schema.modalities["review"].columns == {"review": "text"}
    assert rows.schema.modalities["tabular"].columns == {
        "price": "number",
        "stars": "number",
        "colour": "category",
    }
    tabular = rows.modalities["tabular"]
    assert isinstance(tabular, Table)
    np.testing.assert_array_equal(tabular.numbers["price"], [3.5, 2, np.nan, 9.25])
    assert tabular.categories["colour"].tolist() == ["red", "blue", "red", None]
    assert rows.target.tolist() == [1, 0, 1, 0]
    assert rows.notes == (
        "target: 'score', read as numbers",
        "review: text review",
        "tabular: number price, stars; category colour",
    )


def test_a_frame_is_loaded_as_its_file_is(reviews: Path) -> None:
    from_file = load(reviews, target="score")
    from_frame = load(pd.read_csv(reviews), target="score")
    assert from_frame.schema == from_file.schema
    first, second = from_file.modalities["tabular"], from_frame.modalities["tabular"]
    assert isinstance(first, Table)
    assert isinstance(second, Table)
    for name, column in first.numbers.items():
        np.testing.assert_array_equal(second.numbers[name], column)
    assert second.categories["colour"].tolist() == first.categories["colour"].tolist()
    np.testing.assert_array_equal(from_frame.target, from_file.target)


def test_the_same_file_is_read_the_same_for_prediction(reviews: Path) -> None:
    rows = load(reviews, target="score")
    again = read_rows(reviews, rows.schema)
    np.testing.assert_array_equal(again.modalities["review"].values, rows.modalities["review"].values)
    np.testing.assert_array_equal(again.modalities["tabular"].numbers["price"], [3.5, 2, np.nan, 9.25])
    np.testing.assert_array_equal(again.target, rows.target)
    assert again.ids == rows.ids


def test_kinds_of_new_rows_are_those_of_the_schema_whatever_they_hold(reviews: Path, write) -> None:
    schema = load(reviews, target="score").schema
    new = write("colour,price,review,stars,extra\n7,oops,8,1,z\n7,2,,1,z\n", name="new.csv")
    rows = read_rows(new, schema)
    assert rows.ids == ["1"]
    assert rows.set_aside[0].where == "new.csv:2"
    assert rows.set_aside[0].reason == "column 'price' must be a finite number, got 'oops'"
    assert rows.target is None
    assert rows.modalities["tabular"].categories["colour"].tolist() == ["7"]
    assert rows.modalities["review"].values.tolist() == [None]


def test_a_modality_may_be_absent_from_new_rows(reviews: Path) -> None:
    schema = load(reviews, target="score").schema
    rows = read_rows({"review": ["fine", "dull"]}, schema)
    tabular = rows.modalities["tabular"]
    assert isinstance(tabular, Table)
    assert np.isnan(tabular.numbers["price"]).all()
    assert tabular.categories["colour"].tolist() == [None, None]
    assert rows.notes == ("tabular: missing in every row",)
    rows = read_rows(pd.DataFrame({"price": [1.0], "stars": [2], "colour": ["red"]}), schema)
    assert isinstance(rows.modalities["review"], Text)
    assert rows.modalities["review"].values.tolist() == [None]


def test_mappings_of_everything_are_loaded() -> None:
    rows = load(
        {
            "image": torch.ones(4, 3),
            "audio": np.ones((4, 2, 5)),
            "age": [1.0, np.nan, 3.0, 4.0],
            "colour": ["red", "blue", "red", "blue"],
            "caption": [f"a caption that is long enough, number {i}, for being text" for i in range(4)],
        },
        target=["x", "y", "x", "y"],
    )
    assert {name: m.kind for name, m in rows.modalities.items()} == {
        "image": "embedding",
        "audio": "embedding",
        "age": "embedding",
        "colour": "table",
        "caption": "text",
    }
    assert rows.modalities["age"].mask.tolist() == [True, False, True, True]
    again = read_rows({"colour": ["blue", None]}, rows.schema)
    assert again.modalities["colour"].categories["colour"].tolist() == ["blue", None]
    assert again.modalities["audio"].values.shape == (2, 0)


def test_a_mapping_of_columns_can_be_grouped_like_a_table() -> None:
    rows = load(
        {"review": ["a b", "c d"], "price": [1, 2], "stars": [3, 4], "y": ["p", "n"]},
        ReadOptions(target="y", text=("review",), tabular=("price,stars",)),
    )
    assert list(rows.modalities["tabular"].numbers) == ["price", "stars"]
    assert rows.modalities["review"].values.tolist() == ["a b", "c d"]


def test_a_folder_of_arrays_is_loaded(npy_folder: Path) -> None:
    rows = load(npy_folder, ReadOptions(target="intent", split_column="fold0"))
    assert rows.split.tolist() == ["train", "train", "valid", "test", "train", "test"]
    assert rows.ids == [f"p{i}" for i in range(6)]
    assert sorted(rows.modalities) == ["image", "text"]
    (npy_folder / "labels.csv").unlink()
    (npy_folder / "text.npy").unlink()
    again = read_rows(npy_folder, rows.schema)
    np.testing.assert_array_equal(again.modalities["image"].values, rows.modalities["image"].values)
    assert not again.modalities["text"].mask.any()
    assert again.target is None


@pytest.mark.parametrize("columns", [("fold0", "fold1"), ("fold*",)])
def test_columns_of_folds_are_read_each_and_are_no_feature(
    npy_folder: Path, columns: tuple[str, ...]
) -> None:
    lines = (npy_folder / "labels.csv").read_text(encoding="utf-8").splitlines()
    second = ["fold1", "test", "train", "train", "valid", "train", "train"]
    text = "\n".join(f"{line},{word}" for line, word in zip(lines, second, strict=True))
    (npy_folder / "labels.csv").write_text(text, encoding="utf-8")
    rows = load(npy_folder, ReadOptions(target="intent", fold_columns=columns))
    assert rows.split is None
    assert [fold.tolist() for fold in rows.folds] == [
        ["train", "train", "valid", "test", "train", "test"],
        second[1:],
    ]
    assert rows.schema.fold_columns == ("fold0", "fold1")
    assert sorted(rows.modalities) == ["image", "text"]
    assert schema_from_state(json.loads(json.dumps(schema_state(rows.schema)))) == rows.schema


def test_a_row_without_a_split_in_some_fold_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("x,y,f0,f1\n1.5,a,train,test\n2.5,b,test,\n3.5,a,train,valid\n", encoding="utf-8")
    rows = load(path, ReadOptions(target="y", fold_columns=("f0", "f1")))
    assert [aside.where for aside in rows.set_aside] == ["rows.csv:3"]
    assert [fold.tolist() for fold in rows.folds] == [["train", "train"], ["test", "valid"]]
    assert list(rows.modalities["tabular"].numbers) == ["x"]


def test_unknown_columns_of_folds_are_refused(npy_folder: Path) -> None:
    with pytest.raises(DataError, match=r"fold_columns must name columns of posts, got 'fald\*'"):
        load(npy_folder, ReadOptions(target="intent", fold_columns=("fald*",)))
    with pytest.raises(DataError, match="must not both be given"):
        load(npy_folder, ReadOptions(target="intent", split_column="fold0", fold_columns=("fold0",)))


def test_the_published_posts_are_loaded(data_dir: Path) -> None:
    rows = load(data_dir / "instagram", ReadOptions(target="intent", split_column="fold0"))
    assert [(rows.split == name).sum() for name in ("train", "valid", "test")] == [780, 260, 259]
    assert len(set(rows.target)) == 7
    assert rows.modalities["image"].values.shape == (1299, 512)


def test_an_embedding_may_stand_in_a_table_of_new_rows(write) -> None:
    schema = load({"top": np.ones((3, 2)), "bottom": np.ones((3, 2))}, target=["a", "b", "a"]).schema
    rows = read_rows(write("id,top_0,top_1\n7,1.5,2\n8,NA,\n"), schema)
    assert rows.modalities["top"].values[0].tolist() == [1.5, 2]
    assert rows.modalities["top"].mask.tolist() == [True, False]
    assert not rows.modalities["bottom"].mask.any()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.npy", r"x\.npy must be a file of rows or a folder, got one array: pass its folder"),
        ("x.pkl", "got a pickle, which is never loaded"),
        ("x.xlsx", "got another format: read it with pandas first"),
        ("x.parquet", r"x\.parquet must be a whole Parquet file, got: Parquet file size is 0 bytes"),
        ("x.npz", r"x\.npz must be an archive of plain arrays written by numpy\.savez"),
    ],
)
def test_other_files_are_refused_with_advice(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(DataError, match=message):
        load(tmp_path / name, target="y")


def test_missing_files_and_unknown_names_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"source must be a file or folder that is there, got .*no\.csv"):
        load(tmp_path / "no.csv")
    with pytest.raises(UnknownNameError, match="Did you mean 'mosi'"):
        load("mossi")
    with pytest.raises(DataError, match="source must be a path, a name, a mapping or a data frame, got int"):
        load(3)


def test_a_target_is_given_once_and_only_with_data_in_memory(reviews: Path) -> None:
    with pytest.raises(DataError, match="target must be a name where the source is a file or a data set"):
        load(reviews, target=[1, 0, 1, 0])
    values = {"a": np.ones((2, 1)), "b": np.ones((2, 1))}
    for entry in ("labels", "target"):
        with pytest.raises(DataError, match=f"target must be given once, got values and an entry '{entry}'"):
            load({**values, entry: [1, 2]}, target=[1, 2])
    with pytest.raises(DataError, match="target must be given once"):
        load(pd.DataFrame({"target": [1, 2]}), target=[1, 2])
    with pytest.raises(DataError, match="same number of rows in every entry, got 'arrays' 2, 'target' 3"):
        load(values, target=[1, 2, 3])


def test_an_array_called_like_an_attribute_of_torch_is_refused() -> None:
    with pytest.raises(ModalityError, match=r"'type' of arrays cannot be a modality\. .* Rename the array\."):
        load({"type": np.ones((2, 1)), "b": np.ones((2, 1))}, target=[1, 2])


TAGS = ["rock;pop", "pop", "", "rock", "NA", "rock; pop", " ", "jazz"]


def tagged(tmp_path: Path) -> Path:
    path = tmp_path / "songs.csv"
    lines = [f"{row},{row % 3},{tags}" for row, tags in enumerate(TAGS)]
    path.write_text("\n".join(["tempo,key,tags", *lines]), encoding="utf-8")
    return path


def test_an_empty_cell_of_a_column_of_lists_of_classes_has_no_class(tmp_path: Path) -> None:
    rows = load(tagged(tmp_path), target="tags")
    assert rows.schema.target_kind == "classes"
    assert rows.target.tolist() == [tags.strip() for tags in TAGS if tags != "NA"]
    (aside,) = rows.set_aside
    assert (aside.where, aside.reason) == ("songs.csv:6", "target 'tags' must be known, got no value")
    assert rows.notes[0] == "target: 'tags', read as lists of classes, of which an empty cell has none"
    task = Multilabel.learn(rows.target)
    assert task.encode(rows.target)[2].tolist() == [0.0, 0.0, 0.0]
    assert schema_from_state(schema_state(rows.schema)) == rows.schema


def test_new_rows_are_read_with_the_kind_that_was_learnt(tmp_path: Path) -> None:
    schema = load(tagged(tmp_path), target="tags").schema
    again = read_rows({"tempo": [1.0, 2.0], "key": [0, 1], "tags": ["", "pop"]}, schema)
    assert again.target.tolist() == ["", "pop"]


def test_of_single_classes_an_empty_cell_is_missing(tmp_path: Path) -> None:
    rows = load(tagged(tmp_path), ReadOptions(target="tags", kinds={"tags": "category"}))
    assert rows.target.tolist() == [tags for tags in TAGS if tags.strip() and tags != "NA"]
    assert len(rows.set_aside) == 3


def test_lists_of_classes_that_do_not_look_so_can_be_said_to_be_such() -> None:
    rows = {"a": np.zeros((3, 2)), "b": np.zeros((3, 2)), "tags": ["rock", "", "pop"]}
    assert load(rows, target="tags").target.tolist() == ["rock", "pop"]
    said = load(rows, ReadOptions(target="tags", kinds={"tags": "classes"}))
    assert said.target.tolist() == ["rock", "", "pop"]


def test_only_a_target_is_a_column_of_lists_of_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"The kind of 'key' must be .*, got 'classes'"):
        load(tagged(tmp_path), ReadOptions(target="tags", kinds={"key": "classes"}))
