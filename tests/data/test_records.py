import datetime as dt
import decimal
import io
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture

from fuseloom.data import ReadOptions, load
from fuseloom.data.dataset import Audio, Embedding, Image
from fuseloom.data.media import read_audio, read_image
from fuseloom.data.records import json_object, read_json_lines, read_parquet
from fuseloom.errors import DataError, MissingExtraError

PIXELS = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)


def png() -> bytes:
    file = io.BytesIO()
    Picture.fromarray(PIXELS).save(file, "PNG")
    return file.getvalue()


def wav() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.full(100, 0.5), 8000, format="WAV")
    return file.getvalue()


def test_vectors_sequences_and_scalars_of_json(write) -> None:
    rows = [
        {"v": [1, 2.5], "s": [[1], [2]], "n": 3, "t": "a", "extra": None},
        {"v": None, "s": [[3]], "n": None, "t": "b"},
        {"v": [None, None], "s": [], "n": 4.5, "t": " N/A "},
    ]
    source = read_json_lines(write("\n\n".join(map(json.dumps, rows)), "rows.jsonl"))
    vectors, steps = source.arrays["v"], source.arrays["s"]
    assert isinstance(vectors, Embedding)
    assert isinstance(steps, Embedding)
    assert vectors.values[0].tolist() == [1, 2.5]
    assert vectors.mask.tolist() == [True, False, False]
    assert steps.mask.tolist() == [[True, True], [True, False], [False, False]]
    np.testing.assert_array_equal(source.columns["n"], [3, np.nan, 4.5])
    assert source.columns["t"].tolist() == ["a", "b", None]
    assert source.columns["extra"].tolist() == [None] * 3
    assert (source.ids, source.places) == (["0", "1", "2"], [f"rows.jsonl:{i}" for i in (1, 3, 5)])


def test_lines_that_are_none_keep_their_number(write) -> None:
    source = read_json_lines(write('{"a": 1}\nnope\n{"a": 2}\n', "rows.jsonl"))
    assert (source.ids, source.places) == (["0", "2"], ["rows.jsonl:1", "rows.jsonl:3"])
    assert [aside.where for aside in source.set_aside] == ["rows.jsonl:2"]
    with pytest.raises(
        DataError, match=r"must have a JSON object per line, got none that .* rows\.jsonl:1: must"
    ):
        read_json_lines(write("3\n", "rows.jsonl"))
    with pytest.raises(DataError, match=r"must have a JSON object per line, got none\."):
        read_json_lines(write("\n", "rows.jsonl"))


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text()))
def test_any_object_is_read_as_it_was(value: dict) -> None:
    assert json_object(json.dumps(value).encode()) == value


def test_a_problem_counts_only_where_the_column_is_used(write) -> None:
    lines = [json.dumps({"v": [row, 1], "meta": "x", "n": row / 2, "y": row % 2}) for row in range(6)]
    lines.append(json.dumps({"v": [1, 2], "meta": ["x"], "n": 1.5, "y": 1}))
    path = write("\n".join(lines), "rows.jsonl")
    rows = load(path, ReadOptions(target="y", array=("v",), tabular=("n",)))
    assert (len(rows), rows.set_aside) == (7, ())
    rows = load(path, ReadOptions(target="y", array=("vector=v",), tabular=("meta",)))
    assert [(a.where, a.reason) for a in rows.set_aside] == [
        ("rows.jsonl:7", "meta: must be one value, got list")
    ]
    assert list(rows.modalities) == ["vector", "tabular"]


def test_a_column_is_named_by_its_own_kind(write) -> None:
    path = write("\n".join(json.dumps({"v": [row, 1], "y": row % 2}) for row in range(6)), "rows.jsonl")
    with pytest.raises(DataError, match="text must name a column of that kind, got 'v': use --array"):
        load(path, ReadOptions(target="y", text=("v",)))
    with pytest.raises(DataError, match="target must have one value per row, got 'v', which has several"):
        load(path, ReadOptions(target="v"))
    with pytest.raises(
        DataError, match="The kind of 'tags' must be 'ignore', got 'text': tags: must be numbers"
    ):
        load(write('{"tags": ["a"], "y": 1}', "tags.jsonl"), ReadOptions(target="y", kinds={"tags": "text"}))


def parquet(folder: Path, **columns) -> Path:
    path = folder / "rows.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_every_kind_of_a_parquet_column(tmp_path: Path) -> None:
    path = parquet(
        tmp_path,
        vector=pa.array([[1.0, 2.0], None, [None, 4.0]], pa.list_(pa.float32())),
        fixed=pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int64(), 2)),
        steps=pa.array([[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]], None]),
        photo=[png(), None, png()],
        clip=[{"bytes": wav(), "path": "a.wav"}, {"bytes": wav(), "path": None}, None],
        price=pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("2")]),
        day=[dt.date(2024, 1, 31), None, dt.date(2024, 2, 1)],
        kind=pa.array(["a", "b", "a"]).dictionary_encode(),
        flag=[True, None, False],
    )
    source = read_parquet(path)
    vector, fixed, steps = (source.arrays[name] for name in ("vector", "fixed", "steps"))
    np.testing.assert_array_equal(vector.values, [[1, 2], [np.nan] * 2, [np.nan, 4]])
    assert fixed.values.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert steps.values[1].tolist() == [[3, 4], [5, 6]]
    assert steps.mask.tolist() == [[True, False], [True, True], [False, False]]
    photo, clip = source.arrays["photo"], source.arrays["clip"]
    assert isinstance(photo, Image)
    assert isinstance(clip, Audio)
    np.testing.assert_array_equal(read_image(photo.items[2]), PIXELS)
    assert read_audio(clip.items[1])[0].tolist() == [0.5] * 100
    assert [item is None for item in (*photo.items, *clip.items)] == [False, True, False, False, False, True]
    np.testing.assert_array_equal(source.columns["price"], [1.5, np.nan, 2])
    assert source.columns["day"].tolist() == ["2024-01-31", None, "2024-02-01"]
    assert source.columns["kind"].tolist() == ["a", "b", "a"]
    assert source.columns["flag"].tolist() == ["True", None, "False"]
    assert source.places[2] == "rows.parquet row 2"
    assert not source.unusable


def test_the_index_that_pandas_leaves_is_no_feature(tmp_path: Path) -> None:
    path = parquet(tmp_path, __index_level_0__=[7, 8, 9], n=[1.5, 2.5, 2.5], y=["a", "b", "a"])
    rows = load(path, target="y")
    assert rows.ids == ["7", "8", "9"]
    assert list(rows.modalities["tabular"].numbers) == ["n"]


def test_a_folder_called_like_a_partition_adds_no_column(tmp_path: Path) -> None:
    folder = tmp_path / "year=2024"
    folder.mkdir()
    assert list(read_parquet(parquet(folder, a=[1.0])).columns) == ["a"]


def test_parquet_needs_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fuseloom\[workbench\]'"):
        read_parquet(tmp_path / "x.parquet")
