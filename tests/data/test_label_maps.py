"""Maps of labels, as people have them in files, and what their labels are called."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseloom.data import ReadOptions, load, read_rows
from fuseloom.data.label_maps import IGNORED, LabelFormat, LabelMap, read_label_format, read_labels
from fuseloom.data.state import schema_from_state, schema_state
from fuseloom.errors import DataError, OptionError

Image = pytest.importorskip("PIL.Image")

THREE = LabelFormat(names=("a", "b", "c"))


def png(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


def test_labels_are_numbers_and_those_of_a_palette_its_numbers() -> None:
    labels = np.array([[0, 2], [1, 255]], dtype=np.uint8)
    coloured = Image.fromarray(labels).convert("P")
    coloured.putpalette([value for label in range(256) for value in (label, 0, 255 - label)])
    file = io.BytesIO()
    coloured.save(file, "PNG")
    for item in (
        labels,
        png(labels),
        file.getvalue(),
        labels.astype(np.int64),
        png(labels.astype(np.uint16)),
    ):
        found = read_labels(item, THREE)
        assert found.dtype == np.uint8
        assert found.tolist() == labels.tolist()
    forty = LabelFormat(names=("a",), ignored=(40,))
    assert read_labels(np.array([[0, 40]]), forty).tolist() == [[0, IGNORED]]


def test_numbers_of_the_files_may_be_any() -> None:
    form = LabelFormat(names=("wall", "floor", "bed"), numbers=(33, 7, 1000), ignored=(0, 255))
    assert read_labels(np.array([[1000, 7], [0, 33]]), form).tolist() == [[2, 1], [IGNORED, 0]]
    with pytest.raises(
        DataError, match=r"one of \[33, 7, 1000\], or one of \[0, 255\] .* got 8 in 1 of 1 pi"
    ):
        read_labels(np.array([[8]]), form)
    many = LabelFormat(names=tuple("abcdefghijklm"), numbers=tuple(range(1, 14)))
    with pytest.raises(DataError, match=r"one of \[1, 2, .*, 12\] and so on, or"):
        read_labels(np.array([[14]]), many)


def test_labels_in_colours_need_to_know_which() -> None:
    colours = np.array([[[255, 0, 0], [0, 0, 9]], [[0, 0, 9], [0, 0, 0]]], dtype=np.uint8)
    palette = (((255, 0, 0), 0), ((0, 0, 9), 1), ((0, 0, 0), IGNORED))
    two = LabelFormat(names=("a", "b"), palette=palette)
    for item in (colours, png(colours), png(np.array([[0, 1], [1, 255]], dtype=np.uint8))):
        assert read_labels(item, two).tolist() == [[0, 1], [1, IGNORED]]
    with pytest.raises(
        DataError, match=r"one number per pixel, got 3\. If colours stand for labels, say which"
    ):
        read_labels(png(colours))
    with pytest.raises(DataError, match=r"colours must be of the palette, got \(0, 0, 9\) in 2 of 4 pixels"):
        read_labels(png(colours), LabelFormat(names=("a", "b"), palette=(palette[0], palette[2])))
    with pytest.raises(DataError, match=r"must be \[H, W, 3\], got shape \(2, 2, 2\)"):
        read_labels(np.zeros((2, 2, 2)), two)


def test_one_of_several_numbers_per_pixel_may_be_the_label() -> None:
    first = LabelFormat(names=("a", "b", "c"), channel=0)
    four = np.array([[[2, 9, 9, 255], [0, 9, 9, 255]]], dtype=np.uint8)
    for item in (four, png(four), four[..., 0], png(four[..., 0])):
        assert read_labels(item, first).tolist() == [[2, 0]]
    assert LabelFormat.from_state(json.loads(json.dumps(first.state()))) == first
    with pytest.raises(DataError, match="one number per pixel, got 4"):
        read_labels(four, LabelFormat(names=("a",), channel=4))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (np.array([[0, 3]]), r"from 0 to 2, or one of \[255\] .* got 3 in 1 of 2 pixels"),
        (np.array([[-1, 0]]), "got -1 in 1 of 2 pixels"),
        (np.array([[0.5, 1]]), "got 0.5 in 1 of 2 pixels"),
    ],
)
def test_a_number_that_is_no_label_is_answered(item: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_labels(item, THREE)


def test_a_format_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(OptionError, match="at most 255 labels, got 300"):
        LabelFormat(names=("a",) * 300)
    with pytest.raises(OptionError, match="one per name, 2, or none, got 1"):
        LabelFormat(names=("a", "b"), numbers=(1,))
    with pytest.raises(OptionError, match="each be one thing, got 3 twice"):
        LabelFormat(names=("a", "b"), numbers=(3, 3))


def write(folder: Path, text: str) -> Path:
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return folder / "labels.csv"


def test_a_table_says_what_labels_are_called(tmp_path: Path) -> None:
    form = read_label_format(write(tmp_path, "label,name,color\n0,,#000000\n1,road,#ff8000\n9,sky,#0000FF\n"))
    assert form == LabelFormat(
        names=("road", "sky"),
        numbers=(1, 9),
        ignored=(0, 255),
        palette=(((0, 0, 0), 0), ((255, 128, 0), 1), ((0, 0, 255), 9)),
    )
    assert LabelFormat.from_state(json.loads(json.dumps(form.state()))) == form


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label;name\n0;road\n", r"columns label and name, got \['label;name'\]"),
        ("label,name\n", "columns label and name, got no line"),
        ("label,name\nroad,0\n", r"labels\.csv:2: label must be a whole number, got 'road'"),
        ("label,name,color\n0,road,red\n", r"labels\.csv:2: color must be six digits .* got 'red'"),
        ("label,name\n0,\n", "must name a label, got no name"),
        ("label,name\n0,road\n0,sky\n", "each be one thing, got 0 twice"),
    ],
)
def test_a_table_that_does_not_say_it_is_answered(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_label_format(write(tmp_path, text))


def test_a_table_that_is_not_there_is_answered(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv must be a table that can be read, got: no such file"):
        read_label_format(tmp_path / "none.csv")


def scenes(folder: Path, *, damaged: int | None = None) -> Path:
    """Six pairs of pictures with maps of labels, and the table that joins them."""
    lines = ["photo,depth,mask"]
    for row in range(6):
        names = [f"{kind}_{row}.png" for kind in ("photo", "depth", "mask")]
        maps = np.full((4, 6, 3), row, np.uint8), np.full((4, 6), 1000 + row, np.uint16), np.full((4, 6), 7)
        for name, pixels in zip(names, maps, strict=True):
            whole = png(pixels.astype(np.uint8) if pixels.dtype == np.int64 else pixels)
            is_damaged = row == damaged and name.startswith("mask")
            (folder / name).write_bytes(whole[:40] if is_damaged else whole)
        lines.append(",".join(names))
    (folder / "scenes.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "scenes.csv"


def test_a_column_of_maps_of_labels_can_be_the_target(tmp_path: Path) -> None:
    named = write(tmp_path, "label,name\n7,road\n8,sky\n")
    options = ReadOptions(image=("photo",), map=("depth",), labels=str(named))
    rows = load(scenes(tmp_path), options, target="mask")
    assert rows.schema.target_kind == "labels"
    assert "target: 'mask', read as maps of labels" in rows.notes
    assert rows.target is not None
    first = rows.target[0]
    assert isinstance(first, LabelMap)
    assert (first.names, first.read().shape, set(first.read().ravel().tolist())) == (
        ("road", "sky"),
        (4, 6),
        {0},
    )
    again = schema_from_state(json.loads(json.dumps(schema_state(rows.schema))))
    assert again == rows.schema
    new = read_rows(tmp_path / "scenes.csv", again)
    assert new.target is not None
    assert new.target[5].read().tolist() == first.read().tolist()


def test_a_row_without_labels_is_set_aside(tmp_path: Path) -> None:
    options = ReadOptions(image=("photo",), map=("depth",))
    rows = load(scenes(tmp_path, damaged=2), options, target="mask")
    assert len(rows) == 5
    (aside,) = rows.set_aside
    assert aside.where == "scenes.csv:4"
    assert aside.reason.startswith("target 'mask' must be known, got mask_2.png: not a")
