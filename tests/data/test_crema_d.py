"""Twins of CREMA-D: recordings, frames and lists as users have them, and the published lists."""

import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image as Picture

from fuseloom import compare
from fuseloom.cli.group import fuseloom
from fuseloom.data import (
    Image,
    ReadOptions,
    check,
    describe,
    encode,
    fit_preprocessors,
    load,
    make_splits,
    read_crema_d,
    read_rows,
)
from fuseloom.errors import DataError, OptionError

TRAIN = ("1001_IEO_NEU_XX", "1001_ITH_HAP_LO", "1002_IEO_SAD_MD", "1002_ITH_FEA_HI", "1003_IEO_DIS_XX")
TEST = ("1001_DFA_ANG_XX", "1003_DFA_NEU_XX")


def record(path: Path, seed: int) -> None:
    samples = np.random.default_rng(seed).integers(-9000, 9000, 8000).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, len(samples), "NONE", ""))
        file.writeframes(samples.tobytes())


def film(folder: Path, shades: list[int]) -> None:
    """A frame of each shade of grey, written last frame first, as a file system may list them."""
    folder.mkdir(parents=True)
    for number, shade in reversed(list(enumerate(shades))):
        Picture.new("RGB", (20, 16), (shade,) * 3).save(folder / f"{30 * number:05d}.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "CREMA-D"
    (root / "AudioWAV").mkdir(parents=True)
    for place, clip in enumerate((*TRAIN, *TEST)):
        record(root / "AudioWAV" / f"{clip}.wav", place)
        film(root / "Image-01-FPS" / clip, [20 * place + shade for shade in (0, 4, 8, 12, 16)])
    for name, clips in {"train.csv": TRAIN, "test.csv": TEST}.items():
        lines = "".join(f"{clip},{clip.split('_')[2]}\r\n" for clip in clips)
        (root / name).write_bytes(b"\xef\xbb\xbf" + lines.encode())
    return root


def shades(rows: object, row: int) -> list[int]:
    """Of the frames of a row, less that of its first frame."""
    pictures = rows.modalities["video"].items[row].pictures  # type: ignore[attr-defined]
    return [int(np.asarray(Picture.open(path))[0, 0, 0]) - 20 * row for path in pictures]


def test_lists_files_and_names_become_rows(folder: Path) -> None:
    rows = load(folder)
    assert {name: one.kind for name, one in rows.modalities.items()} == {"audio": "audio", "video": "image"}
    assert rows.ids == [*TRAIN, *TEST]
    assert rows.target.tolist() == ["NEU", "HAP", "SAD", "FEA", "DIS", "ANG", "NEU"]
    assert rows.split.tolist() == ["train"] * 5 + ["test"] * 2
    assert rows.labels["actor"].tolist()[:3] == ["1001", "1001", "1002"]
    assert rows.labels["sentence"][1] == "ITH"
    assert rows.labels["level"][3] == "HI"
    assert rows.set_aside == ()


def test_frames_are_the_middles_of_equal_parts_in_the_order_of_names(folder: Path) -> None:
    rows = load(folder)
    assert [shades(rows, row) for row in range(7)] == [[0, 8, 16]] * 7
    assert shades(load(read_crema_d(folder, frames=1)), 2) == [8]
    assert shades(load(read_crema_d(folder, frames=7)), 2) == [0, 4, 4, 8, 12, 12, 16]


def test_frames_drawn_with_replacement_are_sorted_and_repeatable(folder: Path) -> None:
    one, same, other = (load(read_crema_d(folder, sampling="random", frames=6, seed=s)) for s in (0, 0, 1))
    drawn = [shades(one, row) for row in range(7)]
    assert drawn == [shades(same, row) for row in range(7)]
    assert drawn != [shades(other, row) for row in range(7)]
    assert all(row == sorted(row) and len(set(row)) < 6 for row in drawn)
    assert len({tuple(row) for row in drawn}) > 1


def test_frames_become_channels_one_behind_the_other(folder: Path) -> None:
    rows = load(folder)
    preprocessors = fit_preprocessors(rows, np.arange(5), {"video": {"size": 8}})
    inputs, masks = encode(rows, preprocessors)
    assert inputs["video"].shape == (7, 9, 8, 8)
    assert inputs["video"][2, ::3, 0, 0].tolist() == [40, 48, 56]
    assert inputs["video"][2].unflatten(0, (3, 3)).float().std(1).max() == 0
    assert masks["video"].all()
    assert preprocessors["video"].encoder_options() == {"channels": 9}


def test_the_lowest_rate_of_frames_is_read(folder: Path) -> None:
    for place, clip in enumerate((*TRAIN, *TEST)):
        film(folder / "Image-10-FPS" / clip, [20 * place + 19])
    assert shades(load(folder), 0) == [0, 8, 16]


def test_without_lists_the_names_say_all_but_the_split(folder: Path) -> None:
    (folder / "train.csv").unlink()
    (folder / "test.csv").unlink()
    record(folder / "AudioWAV" / "noise.wav", 9)
    record(folder / "AudioWAV" / "1009_IEO_BAD_XX.wav", 9)
    rows = load(folder)
    assert rows.ids == sorted([*TRAIN, *TEST])
    assert rows.target.tolist() == [clip.split("_")[2] for clip in rows.ids]
    assert rows.split is None
    assert [one.where for one in rows.set_aside] == ["crema-d 1009_IEO_BAD_XX.wav", "crema-d noise.wav"]


def test_a_clip_that_lacks_a_file_is_set_aside(folder: Path) -> None:
    (folder / "AudioWAV" / f"{TRAIN[1]}.wav").unlink()
    for file in (folder / "Image-01-FPS" / TRAIN[2]).iterdir():
        file.unlink()
    (folder / "Image-01-FPS" / TEST[1] / "00060.png").write_bytes(b"no picture")
    rows = load(folder)
    assert rows.ids == [TRAIN[0], TRAIN[3], TRAIN[4], TEST[0]]
    assert {one.where: one.reason for one in rows.set_aside} == {
        f"crema-d {TRAIN[1]}": f"audio: {TRAIN[1]}.wav: no such file",
        f"crema-d {TRAIN[2]}": f"video: {TRAIN[2]}: no frame in Image-01-FPS",
        f"crema-d {TEST[1]}": f"video: {TEST[1]}/00000.png and 2 more: 00060.png: not a picture in a known "
        "format",
    }
    assert rows.labels["actor"].tolist() == ["1001", "1002", "1003", "1001"]


def test_actors_on_both_sides_of_the_split_are_told(folder: Path) -> None:
    rows = load(folder)
    assert (
        "2 of 3 of 'actor' stand in two splits: scores say nothing of new ones; for a split between them: "
        "--group actor --kind split=ignore" in rows.notes
    )
    (found,) = [one for one in check(rows).findings if one.kind == "groups-across-splits"]
    assert (found.severity, found.count) == ("warning", 2)
    assert found.where == ("1001 (test, train)", "1003 (test, train)")
    assert found.advice == "For a split between them: --group actor --kind split=ignore."


def test_whole_actors_are_dealt_where_a_person_asks(folder: Path) -> None:
    apart = load(folder, ReadOptions(group_column="actor", kinds={"split": "ignore"}))
    assert apart.split is None
    (split, *_) = make_splits(apart, stratify=False, seed=0, folds=1)
    sides = {(actor, part) for actor, part in zip(apart.groups.tolist(), split.tolist(), strict=True)}
    assert len(sides) == 3
    assert not [note for note in apart.notes if "two splits" in note]
    assert not [one for one in check(apart).findings if one.kind == "groups-across-splits"]


def test_actors_kept_together_in_the_published_split_are_an_error(folder: Path) -> None:
    rows = load(folder, ReadOptions(group_column="actor"))
    (found,) = [one for one in check(rows).findings if one.kind == "groups-across-splits"]
    assert found.severity == "error"


def test_the_check_of_a_folder_warns_of_actors_and_fails_on_what_is_missing(folder: Path) -> None:
    for name, clips in {"train.csv": TRAIN, "test.csv": TEST[1:]}.items():  # no class that is only tested
        (folder / name).write_text("\n".join(f"{c},{c.split('_')[2]}" for c in clips), encoding="utf-8")
    whole = CliRunner().invoke(fuseloom, ["data", "check", str(folder)])
    assert whole.exit_code == 0
    assert "of 'actor' stand in two splits" in whole.stdout
    (folder / "AudioWAV" / f"{TRAIN[1]}.wav").unlink()
    broken = CliRunner().invoke(fuseloom, ["data", "check", str(folder)])
    assert broken.exit_code == 1
    assert f"audio: {TRAIN[1]}.wav: no such file" in broken.stdout


def test_it_is_described_with_its_frames(folder: Path) -> None:
    video = describe(load(folder)).modalities[1]
    assert (video.name, video.shape) == ("video", "3 frames of 20 x 16 pixels")
    assert video.examples[0] == f"{TRAIN[0]}/00000.png and 2 more"


def test_the_same_frames_in_two_splits_are_found(folder: Path) -> None:
    for file in (folder / "Image-01-FPS" / TRAIN[0]).iterdir():
        (folder / "Image-01-FPS" / TEST[0] / file.name).write_bytes(file.read_bytes())
    first = (folder / "Image-01-FPS" / TRAIN[1] / "00000.png").read_bytes()
    (folder / "Image-01-FPS" / TEST[1] / "00000.png").write_bytes(first)  # one frame alone is no copy
    found = [one for one in check(load(folder)).findings if one.kind == "copies-across-splits"]
    assert [one.where for one in found] == [(f"{TRAIN[0]} (train) = {TEST[0]} (test)",)]


def test_the_published_lists_are_read(data_dir: Path, folder: Path) -> None:
    for name in ("train.csv", "test.csv"):
        (folder / name).write_bytes((data_dir / "crema-d" / name).read_bytes())
    source = read_crema_d(folder)
    split, emotion = source.labels["split"], source.labels["emotion"]
    assert {part: int((split == part).sum()) for part in ("train", "test")} == {"train": 6698, "test": 744}
    assert {name: int((emotion[split == "train"] == name).sum()) for name in ("ANG", "DIS", "NEU")} == {
        "ANG": 1166,
        "DIS": 1142,
        "NEU": 973,
    }
    actors = source.labels["actor"]
    assert len(set(actors[split == "train"]) & set(actors[split == "test"])) == 91


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1001_IEO_NEU_XX,neutral", r"train\.csv must have lines such as 1088_IOM_NEU_XX,NEU, of NEU, HAP"),
        ("\n../secret,NEU", r"got train\.csv:2: '\.\./secret,NEU'\."),
        ("1001_IEO_NEU_XX", r"got train\.csv:1: '1001_IEO_NEU_XX'\."),
        (f"{TEST[0]},ANG", r"train\.csv and test\.csv must name each clip once, got '1001_DFA_ANG_XX' again"),
    ],
)
def test_a_list_of_another_form_is_refused(folder: Path, text: str, message: str) -> None:
    (folder / "train.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load(folder)


def test_text_in_another_encoding_is_refused(folder: Path) -> None:
    (folder / "train.csv").write_bytes("1001_IEO_NEU_XX,NEU\né".encode("latin1"))
    with pytest.raises(DataError, match=r"train\.csv must be text in UTF-8, got another encoding\."):
        load(folder)


def test_one_list_alone_is_refused(folder: Path) -> None:
    (folder / "test.csv").unlink()
    with pytest.raises(DataError, match=r"CREMA-D must hold both lists or none, got no test\.csv\."):
        load(folder)


def test_frames_must_be_extracted(folder: Path) -> None:
    (folder / "Image-01-FPS").rename(folder / "VideoFlash")
    with pytest.raises(DataError, match=r"got no folder Image-\*-FPS\. Extract them from the videos"):
        load(folder)


@pytest.mark.parametrize(("name", "got"), [("noise.wav", r"noise\.wav"), (None, "none")])
def test_recordings_must_be_called_as_published(tmp_path: Path, name: str | None, got: str) -> None:
    (tmp_path / "AudioWAV").mkdir()
    (tmp_path / "Image-01-FPS").mkdir()
    if name is not None:
        record(tmp_path / "AudioWAV" / name, 0)
    with pytest.raises(DataError, match=rf"AudioWAV must hold recordings such as .*, got {got}\."):
        load(tmp_path)


@pytest.mark.parametrize("options", [{"frames": 0}, {"sampling": "first"}], ids=str)
def test_options_out_of_range_are_refused(folder: Path, options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=r"frames must be at least 1 and sampling 'even' or 'random', got"):
        read_crema_d(folder, **options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_it_is_compared_by_its_folder_alone(tmp_path: Path) -> None:
    root = tmp_path / "CREMA-D"
    (root / "AudioWAV").mkdir(parents=True)
    for place in range(60):
        emotion = place // 12 % 2
        clip = f"{1001 + place % 12}_IEO_{('NEU', 'ANG')[emotion]}_X{'ABCDE'[place // 12]}"
        record(root / "AudioWAV" / f"{clip}.wav", place)
        film(root / "Image-01-FPS" / clip, [100 * emotion + shade for shade in (0, 40, 80)])
    settings = {"fusions": ["concat"], "seeds": 1, "max_epochs": 1, "folds": 1}
    whole = compare(root, read=ReadOptions(group_column="actor"), **settings)
    assert whole.data.name == "crema-d"
    assert {"audio", "video", "concat"} <= {entry.name for entry in whole.entries}
    middle = compare(read_crema_d(root), encoder=("video=image,frames=1",), **settings)
    of_video = [
        next(one.parameters for one in found.entries if one.name == "video") for found in (whole, middle)
    ]
    assert of_video[0] > of_video[1]


def test_new_clips_are_read_as_the_training_clips_were(folder: Path) -> None:
    schema = load(folder).schema
    (folder / "train.csv").unlink()
    (folder / "test.csv").unlink()
    rows = read_rows(folder, schema)
    assert rows.ids == sorted([*TRAIN, *TEST])
    assert {name: one.kind for name, one in rows.modalities.items()} == {"audio": "audio", "video": "image"}
    assert rows.target.tolist() == [clip.split("_")[2] for clip in rows.ids]


def test_frames_of_another_clip_are_found_to_be_misaligned(folder: Path) -> None:
    source = read_crema_d(folder)
    items = source.arrays["video"].items.copy()
    items[[0, 1]] = items[[1, 0]]
    moved = replace(source, arrays={**source.arrays, "video": Image(items=items)})
    (found,) = [one for one in check(load(moved)).findings if one.kind == "misaligned"]
    assert found.where[0] == f"{TRAIN[0]}: audio {TRAIN[0]!r}, video {TRAIN[1]!r}"
    assert check(load(source)).findings != ()
    assert not [one for one in check(load(source)).findings if one.kind == "misaligned"]
