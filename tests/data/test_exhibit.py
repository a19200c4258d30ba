"""Every kind of cell, whole, missing, odd or unreadable, becomes something small that shows it."""

import base64
import io
import math
import sys
import wave
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Pillow

from fuseloom.data import load
from fuseloom.data.dataset import Audio, Embedding, Image, Map, Modality, Series, Table, Text
from fuseloom.data.digits import read_digits
from fuseloom.data.exhibit import Exhibit, exhibit, exhibits
from fuseloom.data.media import Sound

MOST = 6500
"""Characters of one cell."""


def objects(*values: Any) -> NDArray[np.object_]:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def pixels(shown: Exhibit) -> NDArray[np.uint8]:
    with Pillow.open(io.BytesIO(base64.b64decode(shown.picture.split(",", 1)[1]))) as picture:
        return np.asarray(picture)


def letters(value: Any) -> int:
    return (
        len(value) if isinstance(value, str) else sum(map(letters, value)) if isinstance(value, tuple) else 0
    )


def saved(path: Path, values: NDArray[np.uint8]) -> Path:
    Pillow.fromarray(values).save(path)
    return path


def recorded(path: Path, samples: NDArray[np.float64], rate: int = 8000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, len(samples), "NONE", ""))
        file.writeframes((samples * 32000).astype("<i2").tobytes())
    return path


def tone(hertz: float, seconds: float, rate: int = 8000) -> NDArray[np.float64]:
    return np.asarray(0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate))


def test_a_small_picture_is_shown_as_it_is_in_grey_where_it_is_grey(tmp_path: Path) -> None:
    drawn = np.arange(28 * 28, dtype=np.uint32).reshape(28, 28).astype(np.uint8)
    colour = np.stack([drawn, drawn.T, drawn], axis=-1)[:8, :8]
    rows = Image(items=objects(drawn, saved(tmp_path / "a.png", drawn), saved(tmp_path / "c.png", colour)))
    for row in (0, 1):
        shown = exhibit(rows, row)
        assert (shown.words, shown.width, shown.height) == ("28 x 28 pixels", 28, 28)
        assert pixels(shown).tolist() == drawn.tolist()
    assert pixels(exhibit(rows, 2)).tolist() == colour.tolist()


@pytest.mark.parametrize(
    ("high", "wide", "height", "width"),
    [(1, 1, 1, 1), (10, 4000, 1, 96), (4000, 10, 96, 1), (300, 400, 72, 96)],
)
def test_a_picture_of_any_size_becomes_a_thumbnail(
    tmp_path: Path, high: int, wide: int, height: int, width: int
) -> None:
    values = np.full((high, wide, 3), (200, 100, 50), np.uint8)
    values[:, wide // 2 :] = (0, 250, 50)
    shown = exhibit(Image(items=objects(saved(tmp_path / "a.png", values))), 0)
    assert shown.words == f"{wide:,} x {high:,} pixels"
    assert (shown.width, shown.height) == (width, height)
    assert pixels(shown).shape == (height, width, 3)
    assert pixels(shown).mean((0, 1)) == pytest.approx(values.mean((0, 1)), abs=0.5)
    assert width == 1 or pixels(shown)[-1, [0, -1]].tolist() == values[-1, [0, -1]].tolist()


def test_a_sound_is_a_spectrogram_with_low_tones_at_the_bottom(tmp_path: Path) -> None:
    both = np.concatenate([tone(200, 0.5), tone(3000, 0.5)])
    shown = exhibit(Audio(items=objects(recorded(tmp_path / "a.wav", both))), 0)
    assert (shown.words, shown.timed, shown.height) == ("1 s at 8,000 Hz", True, 48)
    dark = 255.0 - pixels(shown)
    height = (dark * np.arange(48)[:, None]).sum(0) / dark.sum(0)  # where it is loud, from the top
    half = shown.width // 2
    assert height[: half - 4].min() > 30
    assert height[half + 4 : -3].max() < 15


@pytest.mark.parametrize(
    ("seconds", "rate", "words"),
    [
        (0.01, 8000, "0.01 s at 8,000 Hz"),
        (0.5, 1000, "0.5 s at 1,000 Hz"),
        (0.25, 44_100, "0.25 s at 44,100 Hz"),
        (21, 2000, "21 s at 2,000 Hz, the first 20 s shown"),
        (185, 1000, "3 min 5 s at 1,000 Hz, the first 20 s shown"),
    ],
)
def test_a_sound_of_any_length_and_rate_says_how_long_it_is(seconds: float, rate: int, words: str) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, round(seconds * rate)).astype(np.float32)
    shown = exhibit(Audio(items=objects(Sound(samples=samples, rate=rate))), 0)
    assert shown.words == words
    assert pixels(shown).std() > 5
    assert letters(astuple(shown)) < MOST


def test_silence_is_white() -> None:
    shown = exhibit(Audio(items=objects(Sound(samples=np.zeros(800, np.float32), rate=8000))), 0)
    assert (pixels(shown) == 255).all()


@pytest.mark.parametrize(
    ("value", "text", "words"),
    [
        ("Warm and <b>dry</b>.", "Warm and <b>dry</b>.", "20 characters"),
        ("two\n lines\t", "two lines", "9 characters"),
        ("", "", "0 characters"),
        ("é", "é", "1 character"),
        ("word " * 100, "word " * 55 + "word…", "start of 499 characters"),
        ("x" * 400, "x" * 279 + "…", "start of 400 characters"),
        ("שלום " * 100, "שלום " * 55 + "שלום…", "start of 499 characters"),
    ],
)
def test_a_text_is_cut_after_a_word(value: str, text: str, words: str) -> None:
    shown = exhibit(Text(values=objects(value)), 0)
    assert (shown.text, shown.words) == (text, words)


def test_a_sign_of_several_characters_is_not_cut_in_two() -> None:
    family = "\U0001f469\u200d\U0001f469\u200d\U0001f467"  # two women and a girl, joined
    for before in range(270, 280):
        shown = exhibit(Text(values=objects("x" * before + family * 9)), 0)
        assert shown.text.strip("x…").replace(family, "") == ""
    accents = exhibit(Text(values=objects("e\u0301" * 300)), 0)
    assert accents.text.strip("…").replace("e\u0301", "") == ""


@given(st.text(max_size=400))
def test_a_text_of_any_signs_is_shown_from_its_start(value: str) -> None:
    shown = exhibit(Text(values=objects(value)), 0)
    whole = " ".join(value.split())
    assert len(shown.text) <= 280
    assert whole.startswith(shown.text.removesuffix("…")) or shown.text == whole


def test_a_row_of_a_table_is_written_as_a_person_writes_it() -> None:
    rows = Table(
        numbers={
            "price": np.array([12.5]),
            "year": np.array([2024.0]),
            "mass": np.array([1e-7]),
            "n": np.array([np.nan]),
        },
        categories={"colour": objects("red"), "<script>": objects(None)},
    )
    shown = exhibit(rows, 0)
    assert shown.columns == (
        ("price", "12.5"),
        ("year", "2024"),
        ("mass", "1e-07"),
        ("n", "missing"),
        ("colour", "red"),
        ("<script>", "missing"),
    )
    assert shown.words == "6 columns"


def test_of_many_columns_the_first_are_shown_and_long_cells_cut() -> None:
    rows = Table(
        numbers={f"column {k} " + "of a long name " * 9: np.array([0.1 * k]) for k in range(30)},
        categories={},
    )
    shown = exhibit(rows, 0)
    assert shown.words == "30 columns, the first 8 shown"
    assert [value for _, value in shown.columns] == ["0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7"]
    assert all(len(name) <= 40 and name.endswith("…") for name, _ in shown.columns)


def points(runs: tuple[str, ...]) -> list[list[tuple[float, ...]]]:
    return [[tuple(map(float, point.split(","))) for point in run.split()] for run in runs]


def test_a_series_is_a_line_for_each_channel_with_gaps_where_it_has_none() -> None:
    values = np.array([[[0, 5], [1, np.nan], [2, 7], [9, 9]]], np.float32)
    rows = Series(values=values, mask=np.array([[True, True, True, False]]))
    shown = exhibit(rows, 0)
    assert shown.words == "3 steps of 2 channels"
    first, second = map(points, shown.lines)
    assert first == [[(0, 100), (50, 50), (100, 0)]]
    assert second == [[(0, 100), (0, 100)], [(100, 0), (100, 0)]]  # each point alone


def test_steps_stand_where_their_times_are() -> None:
    rows = Series(
        values=np.array([[[0.0], [1.0], [2.0]]], np.float32),
        mask=np.ones((1, 3), bool),
        time=np.array([[10.0, 11.0, 20.0]]),
    )
    assert [x for x, _ in points(exhibit(rows, 0).lines[0])[0]] == [0, 10, 100]
    lost = Series(values=rows.values, mask=rows.mask, time=np.array([[10.0, np.nan, 20.0]]))
    assert [x for x, _ in points(exhibit(lost, 0).lines[0])[0]] == [0, 50, 100]


def test_of_a_long_series_neighbours_are_averaged_and_some_channels_drawn() -> None:
    steps = np.arange(600.0)
    values = np.stack([np.sin(steps / 40), steps, *(steps * k for k in range(5))], axis=-1)[None]
    shown = exhibit(Series(values=values.astype(np.float32), mask=np.ones((1, 600), bool)), 0)
    assert shown.words == "600 steps of 7 channels, the first 4 drawn"
    ramp, flat = points(shown.lines[1])[0], points(shown.lines[2])[0]
    assert len(ramp) == 60
    assert all(x == pytest.approx(100 - y, abs=0.11) for x, y in ramp)
    assert {y for _, y in flat} == {50}


def test_half_a_digit_is_recognised_as_four_rows_of_eight() -> None:
    source = read_digits()
    top = source.arrays["top"]
    shown = exhibit(top, 5)
    assert (shown.words, shown.width, shown.height) == ("32 numbers from 0 to 16", 8, 4)
    ink = top.values[5].reshape(4, 8)
    assert np.corrcoef(ink.ravel(), 255.0 - pixels(shown).ravel())[0, 1] > 0.999


@given(st.integers(1, 6000))
def test_a_vector_of_any_length_fits(size: int) -> None:
    values = np.random.default_rng(size).normal(size=(1, size)).astype(np.float32)
    shown = exhibit(Embedding(values=values, mask=np.ones(1, bool)), 0)
    assert shown.width >= shown.height
    assert shown.width * shown.height == size or max(shown.width / 96, shown.height / 48) == 1
    assert letters(astuple(shown)) < MOST


def test_steps_of_numbers_run_to_the_right_and_what_is_masked_is_left_out() -> None:
    values = np.array([[[0, 1], [2, 3], [99, 99]]], np.float32)
    shown = exhibit(Embedding(values=values, mask=np.array([[True, True, False]])), 0)
    assert (shown.words, shown.timed) == ("2 steps of 2 numbers from 0 to 3", True)
    assert pixels(shown).tolist() == [[255, 82], [173, 0]]


def test_numbers_that_are_all_alike_or_partly_lost_are_shown() -> None:
    rows = Embedding(values=np.array([[3, 3, 3, 3], [0, np.nan, 1, 1]], np.float32), mask=np.ones(2, bool))
    assert (pixels(exhibit(rows, 0)) == 255).all()
    assert pixels(exhibit(rows, 1)).tolist() == [[255, 255], [0, 0]]


def test_a_map_is_grey_from_its_least_number_to_its_greatest() -> None:
    depth = np.array([[500.0, 1500.0], [np.nan, 1000.0]])
    shown = exhibit(Map(items=objects(depth, np.ones((3, 4, 2)), np.full((2, 2), np.nan))), 0)
    assert (shown.kind, shown.words) == ("map", "2 x 2 numbers, 25% unknown")
    found = pixels(shown).astype(int)
    assert found[0, 0] == found[1, 0] > found[1, 1] > found[0, 1]
    rows = Map(items=objects(np.ones((3, 4, 2)), np.full((2, 2), np.nan)))
    assert exhibit(rows, 0).words == "4 x 3 numbers, the first of 2 channels shown"
    assert exhibit(rows, 1).words == "2 x 2 numbers, 100% unknown"


MISSING: dict[str, Modality] = {
    "image": Image(items=objects(None)),
    "map": Map(items=objects(None)),
    "audio": Audio(items=objects(None)),
    "text": Text(values=objects(None)),
    "table": Table(numbers={"a": np.array([np.nan])}, categories={"b": objects(None)}),
    "series": Series(values=np.ones((1, 3, 1), np.float32), mask=np.zeros((1, 3), bool)),
    "series of nothing": Series(values=np.full((1, 3, 1), np.nan, np.float32), mask=np.ones((1, 3), bool)),
    "embedding": Embedding(values=np.ones((1, 3), np.float32), mask=np.zeros(1, bool)),
    "tokens": Embedding(values=np.ones((1, 3, 2), np.float32), mask=np.zeros((1, 3), bool)),
    "lost": Embedding(values=np.full((1, 3), np.nan, np.float32), mask=np.ones(1, bool)),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_cell_is_absent(name: str) -> None:
    shown = exhibit(MISSING[name], 0)
    assert shown == Exhibit(kind=MISSING[name].kind, state="missing", words="absent")


def test_a_file_that_is_gone_or_damaged_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n")
    (tmp_path / "torn.wav").write_bytes(b"RIFF")
    for kind, name, reason in [
        (Image, "gone.png", "no such file"),
        (Image, "torn.png", "not a picture in a known format"),
        (Map, "torn.png", "not a picture in a known format"),
        (Audio, "gone.wav", "no such file"),
        (Audio, "torn.wav", "not a whole recording"),
    ]:
        shown = exhibit(kind(items=objects(tmp_path / name)), 0)
        assert (shown.state, shown.picture) == ("unreadable", "")
        assert shown.words.startswith(f"{name}: {reason}")
        assert str(tmp_path) not in shown.words


def test_without_the_packages_it_is_said_in_words_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = saved(tmp_path / "a.png", np.zeros((4, 4), np.uint8))
    sound = recorded(tmp_path / "a.wav", tone(440, 0.1))
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    shown = exhibits({"photo": Image(items=objects(image)), "voice": Audio(items=objects(sound))}, 0)
    assert "pip install 'fuseloom[vision]'" in shown["photo"].words
    assert "pip install 'fuseloom[audio]'" in shown["voice"].words
    assert {one.state for one in shown.values()} == {"unreadable"}


def test_rows_of_a_data_set_are_shown_by_modality() -> None:
    generator = np.random.default_rng(0)
    data = load(
        {"a": generator.normal(size=(12, 6)), "b": generator.integers(0, 255, (12, 9, 9, 3), dtype=np.uint8)},
        target=np.arange(12) % 2,
    )
    shown = exhibits(data.modalities, 7)
    assert list(shown) == ["a", "b"]
    assert (shown["a"].kind, shown["b"].kind) == ("embedding", "image")
    item = data.modalities["b"]
    assert isinstance(item, Image)
    assert pixels(shown["b"]).tolist() == np.asarray(item.items[7]).tolist()
    assert math.prod(pixels(shown["a"]).shape) == 6
