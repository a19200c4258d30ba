"""Twins of Kinetics-Sounds in the layout of BalanceMM and RollingQ."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fuseloom.data import check, encode, fit_preprocessors, load, read_kinetics_sounds
from fuseloom.data.kinetics_sounds import CLASSES
from fuseloom.errors import DataError, OptionError

TRAIN = {"--4-0ihtnBU_000058_000068": 10, "aBcDeFgHiJk_000001_000011": 0, "plain-name": 30}
TEST = {"--4-0ihtnBU_000070_000080": 10, "zzzzzzzzzzz_000001_000011": 4}
FOLDERS = {"train": ("train_spec", "train-frames-1fps/train"), "test": ("test_spec", "val-frames-1fps/test")}
FRAMES, MELS, REAL = 12, 8, 9


def film(folder: Path, count: int) -> None:
    """Frames from 1 on, each as bright as its number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count, 0, -1):
        Image.new("RGB", (16, 12), (number,) * 3).save(folder / f"frame_{number:05d}.jpg", quality=100)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "KS"
    root.mkdir()
    generator = np.random.default_rng(0)
    for (split, (heard, seen)), clips in zip(FOLDERS.items(), (TRAIN, TEST), strict=True):
        lines = [f"{name} 10 {label}" for name, label in clips.items()]
        (root / f"ks_{split}_overlap.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (root / heard).mkdir()
        for name in clips:
            values = np.full((FRAMES, MELS), 0.438, dtype=np.float32)
            values[:REAL] = generator.normal(size=(REAL, MELS))
            np.save(root / heard / f"{name}.npy", values)
            film(root / seen / name, 10)
    return root


def numbers(rows: object) -> list[list[int]]:
    """Which frames each row has."""
    items = rows.modalities["video"].items  # type: ignore[attr-defined]
    return [[int(path.stem.split("_")[1]) for path in item.pictures] for item in items]


def test_lists_spectrograms_and_frames_become_rows(folder: Path) -> None:
    rows = load(folder)
    assert rows.ids == [*TRAIN, *TEST]
    assert rows.target.tolist() == [CLASSES[label] for label in (*TRAIN.values(), *TEST.values())]
    assert rows.target[0] == "playing_clarinet"
    assert rows.split.tolist() == ["train"] * 3 + ["test"] * 2
    audio = rows.modalities["audio"]
    for row, (name, place) in enumerate({**dict.fromkeys(TRAIN, "train_spec")}.items()):
        np.testing.assert_array_equal(audio.values[row], np.load(folder / place / f"{name}.npy"))
    assert rows.labels["video_id"].tolist()[:3] == ["--4-0ihtnBU", "aBcDeFgHiJk", "plain-name"]


def test_padding_behind_the_sound_is_masked(folder: Path) -> None:
    path = folder / "train_spec" / "plain-name.npy"
    values = np.load(path)
    values[3] = 1.5  # a constant frame amid others is no padding
    np.save(path, values)
    mask = load(folder).modalities["audio"].mask
    np.testing.assert_array_equal(mask, np.tile(np.arange(FRAMES) < REAL, (5, 1)))


def test_lists_with_commas_are_read_too(folder: Path) -> None:
    for path in folder.glob("ks_*.txt"):
        path.write_text("\n" + path.read_text("utf-8").replace(" ", ","), encoding="utf-8")
    assert load(folder).ids == [*TRAIN, *TEST]


def test_frames_come_from_the_whole_clip(folder: Path) -> None:
    assert numbers(load(folder)) == [[2, 6, 9]] * 5
    assert numbers(load(read_kinetics_sounds(folder, frames=1))) == [[6]] * 5


@pytest.mark.parametrize(
    ("count", "tested"), [(4, [1, 1, 1]), (6, [1, 1, 1]), (7, [1, 3, 5]), (10, [1, 4, 7])]
)
def test_frames_of_the_official_rule_in_test(folder: Path, count: int, tested: list[int]) -> None:
    for name in TEST:
        for file in (folder / FOLDERS["test"][1] / name).iterdir():
            file.unlink()
        film(folder / FOLDERS["test"][1] / name, count)
    assert numbers(load(read_kinetics_sounds(folder, sampling="official")))[3:] == [tested] * 2


def test_frames_of_the_official_rule_in_training_are_one_of_each_third(folder: Path) -> None:
    for name in TRAIN:
        film(folder / FOLDERS["train"][1] / name, 14)
    drawn = [
        row
        for seed in range(12)
        for row in numbers(load(read_kinetics_sounds(folder, sampling="official", seed=seed)))[:3]
    ]
    first, second, third = (set(column) for column in zip(*drawn, strict=True))
    assert (first, second, third) == ({1, 2, 3, 4}, {5, 6, 7, 8}, {9})  # of the last third no more is read


def test_a_clip_of_too_few_frames_is_left_out_by_the_official_rule_only(folder: Path) -> None:
    for file in sorted((folder / FOLDERS["train"][1] / "plain-name").iterdir())[3:]:
        file.unlink()
    assert len(load(folder)) == 5
    rows = load(read_kinetics_sounds(folder, sampling="official"))
    assert [(one.where, one.reason) for one in rows.set_aside] == [
        ("kinetics-sounds plain-name", "video: plain-name: 3 frames in train")
    ]


def test_a_clip_that_lacks_a_file_is_set_aside(folder: Path) -> None:
    (folder / "train_spec" / "plain-name.npy").unlink()
    np.save(folder / "test_spec" / "zzzzzzzzzzz_000001_000011.npy", np.zeros((FRAMES, 3), dtype=np.float32))
    np.save(folder / "train_spec" / "aBcDeFgHiJk_000001_000011.npy", np.array([{}]), allow_pickle=True)
    for file in (folder / FOLDERS["test"][1] / "--4-0ihtnBU_000070_000080").iterdir():
        file.unlink()
    rows = load(folder)
    assert rows.ids == ["--4-0ihtnBU_000058_000068"]
    reasons = {one.where.split()[1]: one.reason for one in rows.set_aside}
    assert reasons["plain-name"].startswith("audio: plain-name.npy: must be a file that can be read")
    assert reasons["zzzzzzzzzzz_000001_000011"].endswith(".npy: float32 of shape (12, 3)")
    assert "pickles and never loaded" in reasons["aBcDeFgHiJk_000001_000011"]
    assert reasons["--4-0ihtnBU_000070_000080"].endswith("0 frames in test")


def test_videos_in_two_splits_are_told(folder: Path) -> None:
    rows = load(folder)
    assert any(note.startswith("1 of 4 of 'video_id' stand in two splits") for note in rows.notes)
    (found,) = [one for one in check(rows).findings if one.kind == "groups-across-splits"]
    assert found.where == ("--4-0ihtnBU (test, train)",)


def test_it_can_be_encoded(folder: Path) -> None:
    rows = load(folder)
    inputs, masks = encode(rows, fit_preprocessors(rows, np.arange(3)))
    assert inputs["video"].shape == (5, 9, 12, 12)
    assert inputs["video"][0, ::3, 0, 0].tolist() == [2, 6, 9]
    assert masks["audio"].sum(1).tolist() == [REAL] * 5


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "name 10 31",
            r"must have a clip and a class from 0 to 30 in each line, got 'name 10 31' in line 1\.",
        ),
        ("name laughing", r"got 'name laughing' in line 1\. Other lists have other classes"),
        ("7", r"got '7' in line 1\."),
        ("../x 10 3", r"ks_train_overlap\.txt must name clips, got the path '\.\./x' in line 1\."),
        (".. 10 3", r"must name clips, got the path '\.\.' in line 1\."),
    ],
)
def test_a_list_of_another_form_is_refused(folder: Path, line: str, message: str) -> None:
    (folder / "ks_train_overlap.txt").write_text(line, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load(folder)


def test_spectrograms_must_be_there(folder: Path) -> None:
    for path in folder.glob("*_spec/*.npy"):
        path.unlink()
    with pytest.raises(
        DataError, match=r"must have spectrograms in train_spec and test_spec, got audio: --4"
    ):
        load(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 0}, r"frames must be at least 1, got 0\."),
        ({"frames": 4, "sampling": "official"}, r"frames must be 3 by the official rule, got 4\."),
        ({"sampling": "first"}, r"sampling must be 'even' or 'official', got 'first'\."),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(folder: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read_kinetics_sounds(folder, **options)  # type: ignore[arg-type]


def test_there_are_31_classes_in_alphabetical_order() -> None:
    assert len(CLASSES) == 31
    assert list(CLASSES) == sorted(CLASSES)
