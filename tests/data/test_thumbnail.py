import base64
import io
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from fuseloom.data.thumbnail import data_uri, grey, shrunk
from fuseloom.errors import MissingExtraError

SIDES = st.integers(1, 40)


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


@given(st.data(), SIDES, SIDES, SIDES, SIDES)
def test_averages_keep_the_range_and_where_boxes_are_equal_the_mean(
    data: st.DataObject, high: int, wide: int, height: int, width: int
) -> None:
    values = data.draw(arrays(np.float64, (high, wide), elements=st.floats(-100, 100)))
    small = shrunk(values, height=height, width=width)
    assert small.shape == (min(high, height), min(wide, width))
    assert small.min() >= values.min() - 1e-9
    assert small.max() <= values.max() + 1e-9
    if high % small.shape[0] == 0 and wide % small.shape[1] == 0:
        assert small.mean() == pytest.approx(values.mean(), abs=1e-9)


def test_what_is_small_enough_is_left_and_boxes_are_those_of_the_picture() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert shrunk(pixels, height=2, width=9).tolist() == pixels.tolist()
    assert shrunk(pixels, height=1, width=2).tolist() == [[[7.5, 8.5, 9.5], [13.5, 14.5, 15.5]]]


def test_large_bytes_do_not_run_over() -> None:
    assert (shrunk(np.full((5000, 300), 255, np.uint8), height=3, width=3) == 255).all()


def test_shades_go_from_white_to_black_and_beyond_the_ends_no_further() -> None:
    shades = grey(np.array([-9.0, 0.0, 1.0, 5.0, np.inf, np.nan]), low=0.0, high=1.0)
    assert shades.tolist() == [255, 255, 0, 0, 255, 255]
    assert len(np.unique(grey(np.linspace(0, 1, 999), low=0.0, high=1.0))) == 32
    assert grey(np.full(3, 2.0), low=2.0, high=2.0).tolist() == [255, 255, 255]


@given(st.data(), st.integers(1, 20), st.integers(1, 20), st.booleans())
def test_a_small_picture_comes_back_to_the_last_bit(
    data: st.DataObject, high: int, wide: int, coloured: bool
) -> None:
    shape = (high, wide, 3) if coloured else (high, wide)
    pixels = data.draw(arrays(np.uint8, shape))
    uri = data_uri(pixels)
    assert uri.startswith("data:image/png;base64,")
    with opened(uri) as picture:
        picture.load()
        assert picture.mode == ("RGB" if coloured else "L")
        assert np.asarray(picture).tolist() == pixels.tolist()


def test_a_photograph_becomes_a_jpeg_that_looks_like_it() -> None:
    across, down = np.meshgrid(np.linspace(0, 6, 96), np.linspace(0, 4, 96))
    noise = np.random.default_rng(0).normal(0, 4, (96, 96, 3))
    waves = np.stack([np.sin(across), np.cos(down), np.sin(across + down)], axis=-1)
    pixels = (128 + 90 * waves + noise).clip(0, 255).astype(np.uint8)
    uri = data_uri(pixels)
    assert uri.startswith("data:image/jpeg;base64,")
    assert len(uri) < 5600
    with opened(uri) as picture:
        assert np.abs(np.asarray(picture).astype(float) - pixels).mean() < 8


def test_the_hardest_picture_is_small_too() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    assert len(data_uri(pixels)) < 6000


def test_without_pillow_a_photograph_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert data_uri(np.zeros((96, 96, 3), np.uint8)).startswith("data:image/png")
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    with pytest.raises(MissingExtraError, match=r"Showing photographs needs Pillow.*fuseloom\[vision\]"):
        data_uri(pixels)


def test_a_picture_with_opacity_is_kept_exactly_however_large() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 60, 4), dtype=np.uint8)
    picture = opened(data_uri(pixels))
    assert picture.mode == "RGBA"
    assert np.array_equal(np.asarray(picture), pixels)
