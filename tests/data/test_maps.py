"""Maps of numbers and of labels, as people have them in files."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseloom.data.maps import MapFormat, read_map
from fuseloom.data.media import PicturePart
from fuseloom.errors import DataError, OptionError

Image = pytest.importorskip("PIL.Image")

DEPTH = np.array([[0, 1500, 2500], [65535, 40000, 1]], dtype=np.uint16)


def png(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_read_whole_with_their_unit_and_holes(kind: str) -> None:
    values, known = read_map(png(DEPTH, kind), MapFormat(scale=0.001, unknown=(0, 65535)))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [[[0, 1.5, 2.5], [0, 40, 0.001]]], rtol=1e-6)
    assert known.tolist() == [[False, True, True], [False, True, True]]


def test_a_scale_may_turn_and_move_numbers_and_a_hole_stays_zero() -> None:
    values, known = read_map(np.array([[0, 10]]), MapFormat(scale=-2, offset=5, unknown=(0,)))
    assert values.tolist() == [[[0, -15]]]
    assert known.tolist() == [[False, True]]


def test_floats_may_have_holes_that_are_no_numbers(tmp_path: Path) -> None:
    heat = np.array([[280.5, np.nan], [np.inf, 300.0]], dtype=np.float32)
    np.save(tmp_path / "heat.npy", heat)
    for item in (heat, tmp_path / "heat.npy", png(heat, "TIFF")):
        values, known = read_map(item)
        assert values.tolist() == [[[280.5, 0], [0, 300]]]
        assert known.tolist() == [[True, False], [False, True]]


def test_several_channels_stand_first() -> None:
    normals = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    for item in (normals, png(normals)):
        values, known = read_map(item, MapFormat(scale=1 / 127, offset=-128 / 127))
        assert values.shape == (3, 2, 4)
        np.testing.assert_allclose(values, (normals.transpose(2, 0, 1) - 128.0) / 127, atol=1e-6)
        assert known.all()


def test_a_pixel_is_a_hole_where_any_of_its_channels_is() -> None:
    _, known = read_map(np.array([[[1.0, np.nan], [1.0, 2.0]]]))
    assert known.tolist() == [[False, True]]


@pytest.mark.parametrize("pixels", [np.array([[7]], dtype=np.uint8), np.array([[True, False]])])
def test_one_pixel_and_one_bit_are_maps_too(pixels: np.ndarray) -> None:
    values, _ = read_map(png(pixels))
    assert values.shape == (1, *pixels.shape)
    assert read_map(pixels)[0].tolist() == [pixels.astype(float).tolist()]


def test_what_is_no_map_is_answered(tmp_path: Path) -> None:
    palette = Image.fromarray(np.zeros((2, 2), dtype=np.uint8)).convert("P")
    file = io.BytesIO()
    palette.save(file, "PNG")
    (tmp_path / "text.png").write_text("no picture", encoding="utf-8")
    (tmp_path / "text.npy").write_text("no array", encoding="utf-8")
    np.save(tmp_path / "words.npy", np.array(["a"]))
    cases = {
        "no such file": tmp_path / "missing.png",
        "not a picture in a known format": tmp_path / "text.png",
        "not a whole array": tmp_path / "text.npy",
        r"numbers \[H, W\] or \[H, W, C\], got <U1": tmp_path / "words.npy",
        "not a whole picture": png(DEPTH.repeat(40, 0).repeat(40, 1))[:120],
        "got a picture with a palette": file.getvalue(),
        r"got float64 of shape \(2, 0\)": np.zeros((2, 0)),
        r"got float64 of shape \(3,\)": np.zeros(3),
    }
    for message, item in cases.items():
        with pytest.raises(DataError, match=message):
            read_map(item)
    with pytest.raises(OptionError, match=r"scale must be finite and not 0, .* got 0 and 0\.0"):
        MapFormat(scale=0)


def test_a_part_of_a_map_keeps_its_numbers(tmp_path: Path) -> None:
    Image.fromarray(DEPTH).save(tmp_path / "depth.png")
    values, known = read_map(PicturePart(tmp_path / "depth.png", size=(1, 1)), MapFormat(unknown=(0,)))
    assert (values.tolist(), known.tolist()) == ([[[1500]]], [[True]])
    four = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    Image.fromarray(four).save(tmp_path / "four.png")
    values, _ = read_map(PicturePart(tmp_path / "four.png", channels=(3,)))
    np.testing.assert_array_equal(values, four[None, ..., 3])


def test_numbers_may_be_told_apart_by_their_logarithms() -> None:
    form = MapFormat(scale=2.0, offset=1.0, unknown=(0,), log=True)
    values, known = read_map(np.array([[0.0, 1.0], [np.e - 1, -3.0]]), form)
    np.testing.assert_allclose(values[0], [[0, 1 + 2 * np.log(2)], [3, 0]], rtol=1e-6)
    assert known.tolist() == [[False, True], [True, False]]
