"""Targets that are pictures, or maps of numbers."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from fuseloom.data import ReadOptions, load, read_rows
from fuseloom.data.checks import check
from fuseloom.data.description import describe
from fuseloom.data.maps import MapFormat
from fuseloom.data.state import schema_from_state, schema_state
from fuseloom.data.target_pictures import TargetPicture, target_modality
from fuseloom.errors import DataError

Image = pytest.importorskip("PIL.Image")


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for row in range(6):
        (tmp_path / f"rgb_{row}.png").write_bytes(png(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)))
        depth = rng.integers(1, 5000, (6, 8), dtype=np.uint16)
        depth[0, 0] = 0
        (tmp_path / f"depth_{row}.png").write_bytes(png(depth))
        np.save(tmp_path / f"heat_{row}.npy", rng.normal(280, 5, (6, 8)).astype(np.float32))
    lines = [f"rgb_{row}.png,depth_{row}.png,heat_{row}.npy" for row in range(6)]
    (tmp_path / "scenes.csv").write_text("\n".join(["rgb,depth,heat", *lines]), encoding="utf-8")
    return tmp_path


def test_pictures_are_read_in_colours_and_brought_to_a_size() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    picture = TargetPicture(item=png(pixels))
    assert picture.limits == (0, 255)
    np.testing.assert_array_equal(picture.read(), pixels.transpose(2, 0, 1))
    small = picture.read((2, 2))
    assert small.shape == (3, 2, 2)
    np.testing.assert_allclose(small.mean(), pixels.mean(), atol=1.5)


def test_maps_keep_their_numbers_and_their_holes_at_any_size() -> None:
    depth = np.array([[0, 1000], [2000, 3000]], dtype=np.uint16)
    target = TargetPicture(item=png(depth), form=MapFormat(scale=0.001, unknown=(0,)))
    assert target.limits is None
    np.testing.assert_allclose(target.read(), [[[np.nan, 1], [2, 3]]])
    assert np.isnan(target.read((4, 4))[0, :2, :2]).all()
    np.testing.assert_allclose(target.read((4, 4))[0, 2:, :2], 2)
    with pytest.raises(DataError, match="no-such"):
        TargetPicture(item=Path("no-such.png")).read()


def test_a_column_of_pictures_in_colours_is_one_to_make(folder: Path) -> None:
    rows = load(folder / "scenes.csv", ReadOptions(target="rgb", map=("depth", "heat")))
    assert (rows.schema.target_kind, rows.schema.map_format) == ("image", None)
    assert rows.notes[0] == "target: 'rgb', read as pictures"
    assert rows.target is not None
    assert rows.target[0].read().shape == (3, 6, 8)
    assert schema_from_state(json.loads(json.dumps(schema_state(rows.schema)))) == rows.schema
    again = read_rows(str(folder / "scenes.csv"), rows.schema)
    assert again.target is not None
    np.testing.assert_array_equal(again.target[1].read(), rows.target[1].read())
    shown = describe(rows).target
    assert shown is not None
    assert (shown.kind, shown.shape) == ("image", "8 x 6 pixels")


def test_a_map_of_numbers_must_be_said_to_be_one(folder: Path) -> None:
    options = ReadOptions(target="heat", kinds={"heat": "map"}, image=("rgb",))
    rows = load(folder / "scenes.csv", options)
    assert (rows.schema.target_kind, rows.schema.map_format) == ("map", MapFormat())
    assert schema_from_state(json.loads(json.dumps(schema_state(rows.schema)))) == rows.schema
    shown = describe(rows).target
    assert shown is not None
    assert shown.range is not None
    assert shown.range.least > 200
    with pytest.raises(DataError, match="labels must be"):
        load(folder / "scenes.csv", ReadOptions(target="depth", image=("rgb",), labels=None))


def test_any_map_of_a_set_can_be_the_target() -> None:
    rows = load("scenes-seg", ReadOptions(target="depth"))
    assert rows.schema.target_kind == "map"
    assert rows.schema.map_format == MapFormat(scale=0.001, unknown=(0,))
    assert "depth" not in rows.modalities
    assert rows.ids[0] == "train_0"
    with pytest.raises(DataError, match="depth"):
        load("scenes-seg", ReadOptions(target="depth", map=("depth",)))


def test_targets_of_other_shapes_are_found_by_the_check(folder: Path) -> None:
    (folder / "rgb_3.png").write_bytes(png(np.zeros((6, 16, 3), dtype=np.uint8)))
    rows = load(folder / "scenes.csv", ReadOptions(target="rgb", map=("depth",)))
    found = {finding.kind: finding for finding in check(rows).findings}
    assert found["unregistered"].count == 1
    assert "rgb 16 x 6" in found["unregistered"].where[0]


def test_rows_whose_target_cannot_be_read_are_set_aside(folder: Path) -> None:
    (folder / "rgb_2.png").write_bytes(b"no picture")
    rows = load(folder / "scenes.csv", ReadOptions(target="rgb", map=("depth",)))
    assert len(rows) == 5
    assert "target 'rgb' must be known" in rows.set_aside[0].reason


def test_a_target_of_pictures_is_also_a_modality(folder: Path) -> None:
    rows = load(folder / "scenes.csv", ReadOptions(target="rgb", map=("depth",)))
    found = target_modality(rows)
    assert found is not None
    assert (found.kind, len(found)) == ("image", 6)
    assert target_modality(load("digits")) is None
