import contextlib
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from fuseloom.data import load, media
from fuseloom.data.exhibit import exhibit
from fuseloom.data.media import (
    ArchivePart,
    Frames,
    PicturePart,
    Sound,
    even_places,
    frames_of,
    is_audio_name,
    is_image_name,
    picture_head,
    read_audio,
    read_image,
    read_item,
    shown_item,
)
from fuseloom.errors import DataError, MissingExtraError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (5, 4, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (5, 4), dtype=np.uint8)
RATE = 8000
TONE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def recorded(samples: np.ndarray, kind: str = "WAV", subtype: str | None = None, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_colour_is_read_to_the_bit(kind: str) -> None:
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(COLOUR), kind)), COLOUR)


def test_grey_stands_in_all_channels() -> None:
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(GREY))), np.stack([GREY] * 3, axis=-1))


def test_grey_of_sixteen_bits_is_scaled_not_cut_off() -> None:
    deep = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    assert read_image(encoded(Image.fromarray(deep)))[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("alpha", [0, 51, 255])
def test_transparency_is_laid_on_white(alpha: int) -> None:
    picture = Image.new("RGBA", (2, 2), (10, 100, 200, alpha))
    share = alpha / 255
    expected = [round(share * value + (1 - share) * 255) for value in (10, 100, 200)]
    assert np.abs(read_image(encoded(picture))[0, 0].astype(int) - expected).max() <= 1


def test_a_palette_with_a_transparent_colour_shows_white_there() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putdata([0, 1])
    assert read_image(encoded(picture, transparency=1)).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_the_colours_of_print_become_those_of_a_screen() -> None:
    picture = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red, green, blue = read_image(encoded(picture, "JPEG", quality=95))[4, 4].tolist()
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize("turn", range(1, 9))
def test_photographs_stand_upright(turn: int) -> None:
    picture = Image.fromarray(COLOUR)
    exif = Image.Exif()
    exif[274] = turn
    data = encoded(picture, exif=exif)
    with Image.open(io.BytesIO(data)) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    found = read_image(data)
    np.testing.assert_array_equal(found, expected)
    assert found.shape == ((4, 5, 3) if turn > 4 else (5, 4, 3))


def test_the_first_frame_of_an_animation_is_read() -> None:
    frames = [Image.new("RGB", (3, 3), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read_image(data)[1, 1].tolist() == [255, 0, 0]


def test_a_path_bytes_and_a_part_of_an_archive_give_the_same(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(COLOUR))
    path = tmp_path / "a.png"
    path.write_bytes(data)
    whole = tmp_path / "all.tar"
    whole.write_bytes(b"x" * 7 + data + b"y" * 9)
    part = ArchivePart(whole, "a.png", 7, len(data))
    for item in (path, str(path), data, part, COLOUR):
        np.testing.assert_array_equal(read_image(item), COLOUR)
    assert shown_item(part) == "all.tar:a.png"
    assert (shown_item(path), shown_item(data)) == ("a.png", "bytes")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 255]], dtype=np.uint8), [0, 255]),
        (np.array([[0, 255]], dtype=np.int64), [0, 255]),
        (np.array([[0, 65535]], dtype=np.uint16), [0, 255]),
        (np.array([[False, True]]), [0, 255]),
        (np.array([[0.0, 1.0]], dtype=np.float32), [0, 255]),
        (np.array([[0.2, 0.5]], dtype=np.float16), [51, 128]),
    ],
)
def test_arrays_of_every_type_are_pixels(values: np.ndarray, expected: list[int]) -> None:
    assert read_image(values)[0, :, 0].tolist() == expected
    assert read_image(values[..., None])[0, :, 2].tolist() == expected
    assert read_image(np.stack([values] * 4, axis=-1)).shape == (1, 2, 3)


@given(st.integers(0, 255))
def test_shares_and_bytes_agree(value: int) -> None:
    assert read_image(np.full((1, 1), value / 255))[0, 0, 0] == value


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(3), r"pixels of shape \(3,\), not \[H, W\]"),
        (np.ones((2, 2, 2)), r"pixels of shape \(2, 2, 2\)"),
        (np.ones((0, 2)), r"pixels of shape \(0, 2, 1\)"),
        (np.full((2, 2), np.nan), "pixels that are not finite"),
        (np.full((2, 2), -1), "pixels of int64 from -1 to -1, not from 0 to 255: scale them"),
        (np.full((2, 2), 1.5), "pixels of float64 from 1.5 to 1.5, not from 0 to 1: scale them"),
    ],
)
def test_other_arrays_are_no_pictures(values: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_image(values)


def test_a_picture_too_large_to_hold_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "_MOST_PIXELS", 19)
    with pytest.raises(DataError, match=r"^a picture of 4 x 5 pixels, more than 19$"):
        read_image(encoded(Image.fromarray(COLOUR)))


@given(st.integers(26, 80), st.integers(0, 255))
def test_a_damaged_picture_is_read_or_refused_but_nothing_else(place: int, value: int) -> None:
    data = bytearray(encoded(Image.fromarray(COLOUR), "BMP"))
    data[place] = value
    with contextlib.suppress(DataError):
        assert read_image(bytes(data)).dtype == np.uint8


def test_names_tell_the_kind_in_any_case() -> None:
    assert is_image_name("a/b.JPG")
    assert is_audio_name("b.Flac")
    assert not is_image_name("jpg")
    assert not is_audio_name("a.png")


@pytest.mark.parametrize(
    ("kind", "subtype", "tolerance"),
    [
        ("WAV", "PCM_U8", 2**-6),
        ("WAV", "PCM_16", 2**-14),
        ("WAV", "PCM_24", 2**-22),
        ("WAV", "FLOAT", 1e-7),
        ("FLAC", "PCM_16", 2**-14),
        ("AIFF", "PCM_16", 2**-14),
        ("OGG", "VORBIS", 0.05),
    ],
)
def test_recordings_of_every_kind_are_read(kind: str, subtype: str, tolerance: float) -> None:
    wave, rate = read_audio(recorded(TONE, kind, subtype))
    assert (rate, wave.dtype) == (RATE, np.float32)
    np.testing.assert_allclose(wave, TONE, atol=tolerance)


def test_channels_are_averaged() -> None:
    both = np.stack([TONE, np.zeros_like(TONE)], axis=1)
    np.testing.assert_allclose(read_audio(recorded(both, subtype="FLOAT"))[0], TONE / 2, atol=1e-7)
    np.testing.assert_allclose(read_audio(Sound(both, RATE))[0], TONE / 2, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint8])
def test_whole_numbers_in_memory_are_scaled_as_a_file_of_them_is(dtype: type) -> None:
    half = 2 ** (8 * np.dtype(dtype).itemsize - 1)
    middle = half if dtype == np.uint8 else 0
    whole = np.round(TONE * (half - 1) + middle).astype(dtype)
    np.testing.assert_allclose(read_audio(Sound(whole, RATE))[0], TONE, atol=2 / half + 1e-6)


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (Sound(np.zeros(0), RATE), "a recording without a sample"),
        (Sound(np.zeros((2, 900)), RATE), r"samples of float64 in shape \(2, 900\), not numbers \[S\] or"),
        (Sound(np.zeros((2, 1, 1)), RATE), r"samples of float64 in shape \(2, 1, 1\)"),
        (Sound(np.array(["a"]), RATE), "samples of <U1"),
        (Sound(np.array([1.0, np.inf]), RATE), "samples that are not finite"),
        (Sound(np.array([[np.inf, -np.inf], [0, 0]]), RATE), "samples that are not finite"),
        (Sound(TONE, 0), "a recording of 0 samples per second, fewer than 1000"),
    ],
)
def test_other_samples_are_no_recording(sound: Sound, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_audio(sound)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "AIFF", "OGG", "MP3"])
def test_a_recording_cut_short_is_refused(kind: str, capfd) -> None:
    data = recorded(TONE, kind)
    with pytest.raises(DataError, match=r"^not a whole recording: [^<]+$"):
        read_audio(data[: len(data) // 2])
    capfd.readouterr()  # the decoder of MP3 itself warns


@pytest.mark.parametrize(
    ("module", "read", "extra"),
    [("PIL", read_image, "vision"), ("soundfile", read_audio, "audio")],
)
def test_a_missing_library_is_named_with_its_extra(module, read, extra, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'fuseloom\[{extra}\]'"):
        read(b"")


@pytest.mark.parametrize("read", [read_image, read_audio])
def test_a_file_that_is_not_there_is_called_so(read: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^gone\.bin: no such file$"):
        read_item(read, tmp_path / "gone.bin")


def test_frames_are_read_as_one_picture_side_by_side() -> None:
    high, low = np.full((3, 2, 3), 9, np.uint8), np.full((2, 1, 3), 7, np.uint8)
    found = read_image(Frames((high, low)))
    assert found.shape == (3, 3, 3)
    assert found[..., 0].tolist() == [[9, 9, 7], [9, 9, 7], [9, 9, 0]]


def test_a_frame_that_is_missing_is_named_with_its_clip(tmp_path: Path) -> None:
    film = Frames((tmp_path / "clip" / "00001.jpg", tmp_path / "clip" / "00002.jpg"))
    with pytest.raises(DataError, match=r"^clip/00001\.jpg and 1 more: 00001\.jpg: no such file$"):
        read_item(read_image, film)
    assert shown_item(Frames((b"", b"", b""))) == "bytes and 2 more"


@given(count=st.integers(1, 40), wanted=st.integers(1, 40))
def test_even_places_are_in_order_and_the_same_from_either_end(count: int, wanted: int) -> None:
    places = even_places(count, wanted)
    assert len(places) == wanted
    assert places == sorted(places)
    assert 0 <= places[0] <= places[-1] < count
    assert max(np.bincount(places, minlength=count)) <= -(-wanted // count)
    assert even_places(count, count) == list(range(count))


def test_rows_of_a_mapping_may_be_frames() -> None:
    shades = [Frames((np.full((8, 8, 3), row, np.uint8),) * 2) for row in range(4)]
    rows = load({"film": [*shades[:3], None], "other": np.ones((4, 2))}, target=[0, 1, 0, 1])
    film = rows.modalities["film"]
    assert film.kind == "image"
    assert [None if item is None else len(frames_of(item)) for item in film.items] == [2, 2, 2, None]
    assert exhibit(film, 1).words == "16 x 8 pixels"


def test_a_part_of_a_picture_is_some_channels_or_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "four.png"
    four = np.concatenate([COLOUR, GREY[..., None]], axis=-1)
    Image.fromarray(four).save(path)
    np.testing.assert_array_equal(read_image(PicturePart(path, channels=(0, 1, 2))), COLOUR)
    np.testing.assert_array_equal(read_image(PicturePart(path, channels=(3,))), np.stack([GREY] * 3, -1))
    np.testing.assert_array_equal(
        read_image(PicturePart(path, channels=(3,), size=(2, 3)))[..., 0], GREY[1:3, 0:3]
    )
    middle = read_image(PicturePart(path, size=(5, 2)))
    np.testing.assert_array_equal(middle, read_image(path)[:, 1:3])
    assert shown_item(PicturePart(path)) == "four.png"


def test_a_part_that_a_picture_does_not_have_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "three.png"
    Image.fromarray(COLOUR).save(path)
    with pytest.raises(DataError, match=r"three\.png: must have 4 channels or more, got 3"):
        read_item(read_image, PicturePart(path, channels=(3,)))
    with pytest.raises(DataError, match=r"must be 4 x 6 pixels or larger, got 4 x 5"):
        read_image(PicturePart(path, size=(6, 4)))


def test_the_head_of_a_picture_tells_its_size_upright(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLOUR).save(path, exif=exif)
    assert picture_head(path) == ("RGB", (4, 5)) == ("RGB", read_image(path).shape[:2])
    assert picture_head(encoded(Image.fromarray(GREY))) == ("L", (5, 4))
    assert picture_head(PicturePart(path, size=(1, 2))) == ("RGB", (1, 2))
    assert picture_head(COLOUR) == ("array", (5, 4))
    with pytest.raises(DataError, match="not a picture in a known format"):
        picture_head(b"no picture")
