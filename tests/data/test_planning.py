from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fuseloom.data import Embedding, ReadOptions, load
from fuseloom.data.cells import clean
from fuseloom.data.planning import plan
from fuseloom.data.source import Source
from fuseloom.errors import DataError, ModalityError

LONG = "a sentence that is certainly longer than fifty characters, number"


def table(**columns: list[str]) -> Source:
    rows = len(next(iter(columns.values())))
    return Source(
        name="t.csv",
        source_format="table",
        ids=[str(i) for i in range(rows)],
        places=[f"t.csv:{i + 2}" for i in range(rows)],
        columns={name: clean(cells) for name, cells in columns.items()},
    )


SHOP = table(
    id=["a7", "b8", "c9", "d1"],
    review=[f"{LONG} {i}" for i in range(4)],
    title=[f"{LONG} title {i}" for i in range(4)],
    price=["1", "2", "3.5", ""],
    colour=["red", "red", "blue", "red"],
    version=["2", "2", "2", "2"],
    note=["", "NA", "-", "?"],
    when=["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"],
    y=["p", "n", "p", "n"],
)


def test_columns_are_grouped_and_useless_ones_left_out_with_a_note() -> None:
    schema, notes = plan(SHOP, ReadOptions(target="y"))
    assert {name: dict(spec.columns) for name, spec in schema.modalities.items()} == {
        "review": {"review": "text"},
        "title": {"title": "text"},
        "tabular": {"price": "number", "colour": "category"},
    }
    assert (schema.target, schema.target_kind, schema.id_column) == ("y", "category", "id")
    assert notes == [
        "target: 'y', read as names of classes",
        "ids: column 'id'",
        "review: text review",
        "title: text title",
        "tabular: number price; category colour",
        "left out (constant): version",
        "left out (no value): note",
        "left out (date): when",
    ]


def test_kinds_override_what_is_inferred() -> None:
    kinds = {"price": "category", "colour": "text", "version": "number", "title": "ignore", "id": "category"}
    schema, _ = plan(SHOP, ReadOptions(target="y", kinds=kinds))
    assert {name: dict(spec.columns) for name, spec in schema.modalities.items()} == {
        "review": {"review": "text"},
        "colour": {"colour": "text"},
        "tabular": {"id": "category", "price": "category", "version": "number"},
    }
    assert schema.id_column is None


def test_named_columns_leave_all_others_out() -> None:
    options = ReadOptions(
        target="y",
        text=("summary=review",),
        tabular=("price", "look=colour,version"),
        kinds={"price": "number"},
    )
    schema, _ = plan(SHOP, options)
    assert {name: dict(spec.columns) for name, spec in schema.modalities.items()} == {
        "summary": {"review": "text"},
        "tabular": {"price": "number"},
        "look": {"colour": "category", "version": "number"},
    }


def test_a_column_that_is_asked_for_is_no_identifier() -> None:
    schema, _ = plan(SHOP, ReadOptions(target="y", text=("id",), tabular=("price",)))
    assert schema.id_column is None
    assert schema.modalities["id"].columns == {"id": "text"}


def test_a_long_column_named_tabular_is_a_category() -> None:
    schema, _ = plan(SHOP, ReadOptions(target="y", text=("review",), tabular=("title",)))
    assert schema.modalities["tabular"].columns == {"title": "category"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"target must name the column of t\.csv to predict, got None\. Known: id, review, title"),
        (
            {"target": "prize"},
            r"target must name a column of t\.csv, got 'prize'\. Did you mean 'price'\? Known",
        ),
        ({"target": "y", "text": ("revie",)}, r"text must name a column .* Did you mean 'review'\?"),
        ({"target": "y", "tabular": ("prise",)}, r"tabular must name a column .* Did you mean 'price'\?"),
        ({"target": "y", "id_column": "ids"}, r"id_column must name a column .* Did you mean 'id'\?"),
        ({"target": "y", "split_column": "fold"}, r"split_column must name a column of t\.csv, got 'fold'"),
        ({"target": "y", "kinds": {"prize": "number"}}, r"kinds must name columns .* Did you mean 'price'\?"),
        ({"target": "y", "kinds": {"y": "ignore"}}, r"kind of the target 'y' must be number or category"),
        ({"target": "y", "text": ("review,title",)}, r"text must name one column per modality"),
        ({"target": "y", "text": ("review", "review")}, r"in one modality only, got 'review' in several"),
        ({"target": "y", "text": ("review",), "tabular": ("y,price",)}, r"An input must not be the target"),
        ({"target": "y", "id_column": "id", "tabular": ("id",)}, r"An input must not be the id_column"),
        ({"target": "y", "text": ("review",), "kinds": {"review": "number"}}, r"'review' must be text there"),
        (
            {"target": "y", "tabular": ("price",), "kinds": {"price": "text"}},
            r"The kind of 'price' must be number or category there, got 'text'",
        ),
        (
            {"target": "y", "tabular": ("price", "colour")},
            r"Modalities must have different names, got 'tabular' twice\. Give it another: --tabular",
        ),
        (
            {"target": "y", "kinds": dict.fromkeys(["review", "title", "price", "colour"], "ignore")},
            r"must have a column or array to predict from, got none",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(options, message: str) -> None:
    with pytest.raises(DataError, match=message):
        plan(SHOP, ReadOptions(**options))


@pytest.mark.parametrize("column", ["type", "评论", "2nd"])
def test_a_column_that_gives_no_name_is_refused_with_advice(column: str) -> None:
    source = table(
        **{column: [f"{LONG} {i}" for i in range(3)], "price": ["1", "2", "3"], "y": ["a", "b", "a"]}
    )
    with pytest.raises(ModalityError, match=f"'{column}' of t.csv cannot .* --text description={column}"):
        plan(source, ReadOptions(target="y"))
    schema, _ = plan(source, ReadOptions(target="y", text=(f"description={column}",), tabular=("price",)))
    assert list(schema.modalities) == ["description", "tabular"]


def test_a_given_name_that_a_model_cannot_carry_is_refused() -> None:
    with pytest.raises(ModalityError, match=r"'review' of t\.csv cannot be a modality\. .* got 'keys'"):
        plan(SHOP, ReadOptions(target="y", text=("keys=review",), tabular=("price",)))


def test_a_column_of_splits_is_found_unless_its_kind_is_said() -> None:
    columns = {"split": ["train", "Test", "dev"], "text": [f"{LONG} {i}" for i in range(3)]}
    source = table(**columns, price=["1", "2", "3"], y=["a", "b", "a"])
    schema, notes = plan(source, ReadOptions(target="y"))
    assert schema.split_column == "split"
    assert "splits: column 'split'" in notes
    schema, _ = plan(source, ReadOptions(target="y", kinds={"split": "category"}))
    assert schema.split_column is None
    beside = Source(
        name="folder",
        source_format="arrays",
        ids=source.ids,
        places=source.places,
        columns={name: source.columns[name] for name in ("text", "price")},
        labels={name: source.columns[name] for name in ("split", "y")},
    )
    assert plan(beside, ReadOptions(target="y"))[0].split_column == "split"
    columns["split"][0] = "banana"
    other = table(**columns, price=["1", "2", "3"], y=["a", "b", "a"])
    assert plan(other, ReadOptions(target="y"))[0].split_column is None


def test_many_columns_are_listed_in_short() -> None:
    source = table(**{f"c{i}": ["1", "2"] for i in range(12)}, t=[LONG, LONG + "b"], y=["a", "b"])
    _, notes = plan(source, ReadOptions(target="y"))
    assert notes[-1] == "tabular: number c0, c1, c2, c3, c4, c5, c6, c7 and 4 more"


def test_arrays_and_the_columns_beside_them_are_modalities_each() -> None:
    source = Source(
        name="arrays",
        source_format="arrays",
        ids=["0", "1"],
        places=["row 0", "row 1"],
        arrays={"image": Embedding(values=np.ones((2, 3), np.float32), mask=np.ones(2, np.bool_))},
        columns={"age": np.array([1.0, 2.0]), "zip": clean(["1", "2"])},
        labels={"y": np.array([1.0, 2.0])},
        target="y",
    )
    schema, _ = plan(source, ReadOptions(kinds={"zip": "category"}))
    assert {name: spec.kind for name, spec in schema.modalities.items()} == {
        "image": "embedding",
        "age": "embedding",
        "zip": "table",
    }
    with pytest.raises(DataError, match="The kind of 'image' must be 'embedding' or 'ignore', got 'text'"):
        plan(source, ReadOptions(kinds={"image": "text"}))
    schema, _ = plan(source, ReadOptions(kinds={"image": "ignore", "zip": "text"}))
    assert {name: spec.kind for name, spec in schema.modalities.items()} == {
        "age": "embedding",
        "zip": "text",
    }


def test_a_kind_said_for_the_target_wins() -> None:
    source = table(t=[LONG, LONG + "b"], price=["1", "2"], y=["1", "2"])
    assert plan(source, ReadOptions(target="y"))[0].target_kind == "number"
    assert plan(source, ReadOptions(target="y", kinds={"y": "category"}))[0].target_kind == "category"
    assert plan(source, ReadOptions(target="y", kinds={"y": "text"}))[0].target_kind == "category"


def test_files_that_are_there_are_an_input_and_never_name_the_rows(tmp_path: Path) -> None:
    source = replace(
        table(photo=["a1.png", "a2.png", "a3.png"], price=["1", "2", "3.5"], y=["a", "b", "a"]), root=tmp_path
    )
    schema, notes = plan(source, ReadOptions(target="y"))
    assert schema.id_column == "photo"
    assert list(schema.modalities) == ["tabular"]
    (tmp_path / "a2.png").touch()
    schema, notes = plan(source, ReadOptions(target="y"))
    assert schema.id_column is None
    assert schema.modalities["photo"].columns == {"photo": "image"}
    assert "photo: image photo" in notes


def test_files_that_are_not_there_are_left_out_with_a_note(tmp_path: Path) -> None:
    columns = {"id": ["1", "2", "3"], "clip": ["a.wav", "a.wav", "b.wav"], "price": ["1", "2", "3.5"]}
    source = replace(table(**columns, y=["a", "b", "a"]), root=tmp_path)
    _, notes = plan(source, ReadOptions(target="y"))
    assert "left out (no such audio files): clip" in notes
    schema, _ = plan(source, ReadOptions(target="y", kinds={"clip": "audio"}))
    assert schema.modalities["clip"].kind == "audio"


def test_what_cannot_be_used_is_left_out_with_its_reason_until_asked_for() -> None:
    source = replace(table(price=["1", "2", "3.5"], y=["a", "b", "a"]), unusable={"tags": "lists of words"})
    schema, notes = plan(source, ReadOptions(target="y"))
    assert list(schema.modalities) == ["tabular"]
    assert notes[-1] == "left out (lists of words): tags"
    assert plan(source, ReadOptions(target="y", kinds={"tags": "ignore"}))[0] == schema
    with pytest.raises(
        DataError, match="text must name a column that can be used, got 'tags': lists of words"
    ):
        plan(source, ReadOptions(target="y", text=("tags",)))


def test_an_array_in_memory_may_be_named_as_what_it_is() -> None:
    pixels = [np.full((4, 5, 3), shade, dtype=np.uint8) for shade in range(6)]
    entries = {"photo": pixels, "size": list(range(6)), "sound": np.ones((6, 3))}
    said = ReadOptions(image=("front=photo",), tabular=("size",))
    rows = load(entries, said, target=["a", "b"] * 3)
    assert {name: one.kind for name, one in rows.modalities.items()} == {
        "sound": "embedding",
        "front": "image",
        "tabular": "table",
    }
