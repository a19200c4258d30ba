"""Columns of paths of maps, such as depth, from a table to what a model reads."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from fuseloom.data import ReadOptions, load, read_rows
from fuseloom.data.dataset import Map
from fuseloom.data.description import describe
from fuseloom.data.preprocessing import encode, fit_preprocessors
from fuseloom.errors import DataError

ROWS = 8


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Eight rows with a picture and a depth of 16 bits; one lacks its depth, that of another is torn."""
    generator = np.random.default_rng(0)
    lines = []
    for row in range(ROWS):
        Pillow.fromarray(generator.integers(0, 256, (10, 12, 3), dtype=np.uint8)).save(
            tmp_path / f"{row}.jpg"
        )
        depth = generator.integers(900, 40_000, (10, 12)).astype(np.uint16)
        depth[0, 0] = 0
        Pillow.fromarray(depth).save(tmp_path / f"{row}.png")
        lines.append([f"{row}.jpg", "" if row == 2 else f"{row}.png", "ab"[row % 2]])
    (tmp_path / "4.png").write_bytes((tmp_path / "4.png").read_bytes()[:60])
    with (tmp_path / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["photo", "depth", "what"], *lines])
    return tmp_path / "rows.csv"


@pytest.mark.parametrize(
    "options",
    [
        {"image": ("photo",), "map": ("depth",)},
        {"kinds": {"depth": "map"}},
    ],
)
def test_a_column_is_read_as_maps_where_it_is_said(table: Path, options: dict[str, object]) -> None:
    rows = load(table, ReadOptions(target="what", **options))  # type: ignore[arg-type]
    assert {name: one.kind for name, one in rows.modalities.items()} == {"photo": "image", "depth": "map"}
    assert len(rows) == ROWS - 1
    (aside,) = rows.set_aside
    assert aside.reason.startswith("depth: 4.png: not a whole picture")
    depth = rows.modalities["depth"]
    assert isinstance(depth, Map)
    assert [item is None for item in depth.items] == [row == 2 for row in range(ROWS - 1)]


def test_left_to_itself_a_column_of_pictures_is_read_as_pictures(table: Path) -> None:
    rows = load(table, ReadOptions(target="what"))
    assert rows.modalities["depth"].kind == "image"


def test_sixteen_bits_reach_the_model_with_their_holes(table: Path) -> None:
    rows = load(table, ReadOptions(target="what", map=("depth",)))
    learnt = fit_preprocessors(rows, np.arange(len(rows)), {"depth": {"unknown": 0, "size": 10}})
    values, masks = encode(rows, learnt)
    assert values["depth"].shape == (ROWS - 1, 1, 10, 10)
    assert masks["depth"].shape == (ROWS - 1, 10, 10)
    assert not masks["depth"][2].any()
    assert masks["depth"][[0, 1, 3]].float().mean() > 0.98
    assert len(values["depth"][0].unique()) > 80  # eight bits would leave fewer than a hundred shades


def test_new_rows_may_lack_their_maps(table: Path) -> None:
    schema = load(table, ReadOptions(target="what", image=("photo",), map=("depth",))).schema
    assert schema.modalities["depth"].columns == {"depth": "map"}
    new = read_rows({"photo": [str(table.parent / "1.jpg")]}, schema)
    assert new.modalities["depth"].kind == "map"
    assert new.modalities["depth"].items.tolist() == [None]  # type: ignore[union-attr]


def test_maps_are_described_by_their_size_and_range(table: Path) -> None:
    described = describe(load(table, ReadOptions(target="what", map=("depth",))))
    (depth,) = described.modalities
    assert (depth.kind, depth.shape, depth.missing) == ("map", "12 x 10 x 1 numbers", 1)
    assert depth.range is not None
    assert depth.range.least == 0
    assert depth.range.greatest > 30_000


def test_a_number_is_no_map(table: Path) -> None:
    with pytest.raises(DataError, match=r"kind of .*'what'.*must be map there, got 'category'"):
        load(table, ReadOptions(target="photo", map=("what",), kinds={"what": "category"}))
