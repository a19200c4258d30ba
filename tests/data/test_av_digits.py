"""A twin of the set, small enough for every run, and the set itself where it is."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuseloom.data import load
from fuseloom.data.av_digits import FILES, make_av_digits
from fuseloom.data.media import Sound, read_audio
from fuseloom.errors import DataError, OptionError

SPEAKERS = tuple("abcdef")


def write_idx(path: Path, values: np.ndarray) -> None:
    head = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(head + values.astype(np.uint8).tobytes()))


def test_a_folder_is_recognised_and_read(av_digits_twin: Path) -> None:
    rows = load(av_digits_twin)
    assert (rows.name, rows.schema.target, rows.schema.source_format) == ("av-digits", "digit", "av-digits")
    assert len(rows) == 120
    assert sorted(set(rows.target)) == [str(digit) for digit in range(10)]
    assert rows.modalities.keys() == {"image", "audio"}


def test_both_of_a_pair_are_of_the_same_digit(av_digits_twin: Path) -> None:
    rows = make_av_digits(av_digits_twin)
    assert [str(picture % 10) for picture in rows.image[:, 0, 0]] == rows.target.tolist()
    assert [path.name[0] for path in rows.audio] == rows.target.tolist()


def test_no_speaker_and_no_picture_is_in_two_splits_and_no_picture_in_two_rows(av_digits_twin: Path) -> None:
    rows = make_av_digits(av_digits_twin)
    parts = {name: rows.split == name for name in ("train", "valid", "test")}
    speakers = [set(rows.speaker[part]) for part in parts.values()]
    assert [len(one) for one in speakers] == [4, 1, 1]
    assert set.union(*speakers) == set(SPEAKERS)
    assert len(set(rows.image[:, 0, 0].tolist())) == len(rows.image)
    assert [int(part.sum()) for part in parts.values()] == [80, 20, 20]


def test_recordings_may_be_held_out_instead_of_speakers(av_digits_twin: Path) -> None:
    rows = make_av_digits(av_digits_twin, held_out="recordings")
    names = [path.name for path in rows.audio if isinstance(path, Path)]
    assert len(set(names)) == len(names) == 120
    for split, count in (("train", 8), ("valid", 2), ("test", 2)):
        digits, counts = np.unique(rows.target[rows.split == split].astype(str), return_counts=True)
        assert (len(digits), set(counts.tolist())) == (10, {count})
        assert len(set(rows.speaker[rows.split == split])) > 4
    with pytest.raises(OptionError, match="held_out must be 'speakers' or 'recordings', got 'rows'"):
        make_av_digits(av_digits_twin, held_out="rows")  # type: ignore[arg-type]
    for path in (av_digits_twin / "recordings").glob("7_*.wav"):
        if path.name > "7_b":
            path.unlink()
    with pytest.raises(DataError, match="at least 3 recordings of each digit, got 2 of 7"):
        make_av_digits(av_digits_twin, held_out="recordings")


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 180), seed=st.integers(0, 99))
def test_any_number_of_rows_and_any_seed_keep_the_laws(av_digits_twin: Path, count: int, seed: int) -> None:
    rows = make_av_digits(av_digits_twin, rows=count, seed=seed)
    assert len(rows.image) == len(rows.audio) == len(rows.ids)
    assert abs(len(rows.ids) - max(count, 3)) <= 2
    assert set(rows.split) == {"train", "valid", "test"}
    by_speaker = {speaker: set(rows.split[rows.speaker == speaker]) for speaker in set(rows.speaker)}
    assert all(len(splits) == 1 for splits in by_speaker.values())
    assert [str(picture % 10) for picture in rows.image[:, 0, 0]] == rows.target.tolist()


def test_a_seed_gives_the_same_rows_and_another_one_others(av_digits_twin: Path) -> None:
    one, same, other = (make_av_digits(av_digits_twin, image_noise=0.2, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.image, same.image)
    assert one.ids == same.ids
    assert one.ids != other.ids


def test_noise_does_not_change_which_rows_there_are(av_digits_twin: Path) -> None:
    clean, noisy = (
        make_av_digits(av_digits_twin),
        make_av_digits(av_digits_twin, image_noise=0.5, occlusion=0.3, audio_snr_db=0),
    )
    assert clean.ids == noisy.ids
    assert (clean.image != noisy.image).any(axis=(1, 2)).all()


def test_pixels_get_noise_of_the_stated_deviation(av_digits_twin: Path) -> None:
    pixels = np.full((240, 12, 12), 128)
    write_idx(av_digits_twin / FILES[0], pixels)
    noise = make_av_digits(av_digits_twin, image_noise=0.1).image.astype(float) - 128
    assert noise.std() == pytest.approx(25.5, rel=0.03)
    assert abs(noise.mean()) < 0.5


def test_a_square_of_the_stated_side_is_grey_somewhere(av_digits_twin: Path) -> None:
    write_idx(av_digits_twin / FILES[0], np.zeros((240, 12, 12)))
    hidden = make_av_digits(av_digits_twin, occlusion=0.5).image == 128
    assert set(hidden.sum((1, 2)).tolist()) == {36}
    assert {int(one.any(1).sum()) for one in hidden} == {6}
    assert len({tuple(np.argwhere(one)[0]) for one in hidden}) > 10


@pytest.mark.parametrize("decibels", [-10.0, 0.0, 20.0])
def test_recordings_get_noise_of_the_stated_ratio(av_digits_twin: Path, decibels: float) -> None:
    rows = make_av_digits(av_digits_twin, audio_snr_db=decibels)
    ratios = []
    for name, sound in zip(rows.ids, rows.audio, strict=True):
        assert isinstance(sound, Sound)
        clean, rate = read_audio(av_digits_twin / "recordings" / f"{name.partition('-')[0]}.wav")
        assert rate == sound.rate
        ratios.append(10 * np.log10(np.square(clean).mean() / np.square(sound.samples - clean).mean()))
    assert np.mean(ratios) == pytest.approx(decibels, abs=0.2)


def test_noisy_pairs_are_data_as_they_are(av_digits_twin: Path) -> None:
    rows = load(make_av_digits(av_digits_twin, audio_snr_db=3))
    assert rows.split is not None
    assert {name: one.kind for name, one in rows.modalities.items()} == {"image": "image", "audio": "audio"}
    assert rows.target is not None
    assert len(set(rows.target.tolist())) == 10


def test_what_is_missing_is_named(av_digits_twin: Path) -> None:
    with pytest.raises(DataError, match=r"a picture for each of \d+ \w+ rows of av-digits, got too few of"):
        make_av_digits(av_digits_twin, rows=400)
    with pytest.raises(OptionError, match=r"rows must be positive, got 0"):
        make_av_digits(av_digits_twin, rows=0)
    with pytest.raises(OptionError, match=r"image_noise must not be negative .* got -1 and 0"):
        make_av_digits(av_digits_twin, image_noise=-1)
    strange = av_digits_twin / "recordings" / "seven.wav"
    strange.write_bytes(b"")
    with pytest.raises(DataError, match=r"<digit>_<speaker>_<number>\.wav, got 'seven\.wav'"):
        make_av_digits(av_digits_twin)
    strange.unlink()
    write_idx(av_digits_twin / FILES[1], np.zeros(9))
    with pytest.raises(DataError, match="must have a label per picture, got 9 for 240"):
        make_av_digits(av_digits_twin)
    (av_digits_twin / FILES[1]).unlink()
    with pytest.raises(DataError, match=r"av-digits must hold .* got no t10k-labels"):
        make_av_digits(av_digits_twin)


def test_too_few_speakers_are_refused(av_digits_twin: Path) -> None:
    for path in (av_digits_twin / "recordings").glob("*.wav"):
        if path.name.split("_")[1] not in SPEAKERS[:2]:
            path.unlink()
    with pytest.raises(DataError, match="at least 3 speakers, one for each split, got 2"):
        load(av_digits_twin)


def test_the_set_itself(data_dir: Path) -> None:
    rows = make_av_digits(data_dir / "av-digits")
    assert len(rows.ids) == 3000
    assert {name: int((rows.split == name).sum()) for name in ("train", "valid", "test")} == {
        "train": 2000,
        "valid": 500,
        "test": 500,
    }
    assert len(set(rows.ids)) == 3000
    assert rows.image.shape[1:] == (28, 28)
