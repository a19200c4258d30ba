"""Twins of the published pickles: the layout of MulT and MultiBench, with a few rows of each split."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseloom.data import check, encode, fit_preprocessors, load, read_mosei
from fuseloom.errors import DataError

SIZES = {"train": 4, "valid": 2, "test": 3}
WIDTHS = {"text": (5, 300), "audio": (7, 74), "vision": (7, 35)}
SCORES = [[-3.0, -1 / 3, 0.0, 2.0], [1.0, -1.0], [3.0, 0.0, -2.0]]


def content(*, ids: bool = True) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for (split, size), scores in zip(SIZES.items(), SCORES, strict=True):
        entries: dict[str, Any] = {
            name: generator.normal(size=(size, *shape)) for name, shape in WIDTHS.items()
        }
        entries["labels"] = np.array(scores, dtype=np.float32).reshape(size, 1, 1)
        if ids:
            names = [[f"{split}{row // 2}", f"{row}.5", f"{row + 1}.25"] for row in range(size)]
            entries["id"] = np.array(names)
        found[split] = entries
    return found


def written(folder: Path, held: object, name: str = "mosei_senti_data.pkl", protocol: int = 2) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(pickle.dumps(held, protocol))
    return folder


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_the_three_modalities_and_the_published_splits(tmp_path: Path, protocol: int) -> None:
    held = content()
    rows = load(written(tmp_path / "set", held, protocol=protocol))
    for entry, modality in {"text": "text", "audio": "audio", "vision": "video"}.items():
        expected = np.concatenate([held[split][entry] for split in SIZES]).astype(np.float32)
        np.testing.assert_array_equal(rows.modalities[modality].values, expected)
        assert rows.modalities[modality].mask.all()
    assert rows.split.tolist() == [split for split, size in SIZES.items() for _ in range(size)]
    assert rows.ids[:2] == ["train0 0.5 1.25", "train0 1.5 2.25"]
    assert rows.name == "mosei_senti_data"


def test_below_zero_is_negative_and_zero_is_not(tmp_path: Path) -> None:
    rows = load(written(tmp_path / "set", content()))
    named = ["negative", "negative", "positive", "positive", "positive", "negative", "positive", "positive"]
    assert rows.target.tolist() == [*named, "negative"]


def test_the_number_itself_can_be_the_target(tmp_path: Path) -> None:
    rows = load(written(tmp_path / "set", content()), target="sentiment")
    assert rows.schema.target_kind == "number"
    np.testing.assert_allclose(rows.target, np.concatenate(SCORES), rtol=1e-6)


def test_a_file_is_read_as_its_folder_is(tmp_path: Path) -> None:
    folder = written(tmp_path / "set", content(), name="mosei_senti_data_noalign.pkl")
    one, other = load(folder), load(folder / "mosei_senti_data_noalign.pkl")
    assert one.ids == other.ids
    np.testing.assert_array_equal(one.modalities["audio"].values, other.modalities["audio"].values)


def test_two_releases_in_one_folder_are_not_guessed_between(tmp_path: Path) -> None:
    folder = written(tmp_path / "set", content())
    written(folder, content(), name="mosi_raw.pkl")
    with pytest.raises(
        DataError, match=r"set must hold one of .*, got mosei_senti_data\.pkl and mosi_raw\.pkl\. Pass the"
    ):
        load(folder)
    assert load(folder / "mosi_raw.pkl").name == "mosi_raw"


def test_logarithms_of_nothing_are_zero_and_real(tmp_path: Path) -> None:
    held = content()
    held["train"]["audio"][1, 2, 5] = -np.inf
    held["train"]["audio"][1, [0, 3]] = -np.inf
    held["test"]["vision"][0, 0, 0] = np.nan
    rows = load(written(tmp_path / "set", held))
    audio, video = rows.modalities["audio"], rows.modalities["video"]
    assert audio.values[1, 2, 5] == 0
    assert audio.values[1, 2, 4] == np.float32(held["train"]["audio"][1, 2, 4])
    assert (audio.values[1, [0, 3]] == 0).all()
    assert audio.mask.all()
    assert video.values[6, 0, 0] == 0
    assert video.mask.all()


@pytest.mark.parametrize("left", [True, False])
def test_padding_is_masked_on_either_side_and_gaps_are_not(tmp_path: Path, left: bool) -> None:
    held = content()
    steps = held["train"]["text"]
    steps[0, : 2 if left else 0] = 0
    steps[0, 5 if left else 3 :] = 0
    steps[1, 2] = 0
    steps[2] = 0
    mask = load(written(tmp_path / "set", held)).modalities["text"].mask
    expected = [False, False, True, True, True] if left else [True, True, True, False, False]
    assert mask[0].tolist() == expected
    assert mask[1].all()
    assert not mask[2].any()
    assert mask[3].all()


def test_splits_of_different_lengths_are_padded(tmp_path: Path) -> None:
    held = content()
    held["valid"]["audio"] = held["valid"]["audio"][:, :4]
    audio = load(written(tmp_path / "set", held)).modalities["audio"]
    assert audio.mask[4:6].sum(1).tolist() == [4, 4]
    assert (audio.values[4, 4:] == 0).all()


def test_videos_in_two_splits_are_told(tmp_path: Path) -> None:
    held = content()
    held["test"]["id"] = held["test"]["id"].astype("<U6")
    held["test"]["id"][0, 0] = "train0"
    rows = load(written(tmp_path / "set", held))
    assert rows.groups is None
    (note,) = [note for note in rows.notes if "stand in two splits" in note]
    assert note.startswith("1 of 5 of 'video_id' stand in two splits")
    (found,) = [one for one in check(rows).findings if one.kind == "groups-across-splits"]
    assert (found.severity, found.where) == ("warning", ("train0 (test, train)",))


@pytest.mark.parametrize("kind", [str, bytes])
def test_a_video_is_what_stands_before_the_bracket(tmp_path: Path, kind: type) -> None:
    held = content()
    for split, size in SIZES.items():
        names = [f"{split}[{row}]" for row in range(size)]
        held[split]["id"] = [name if kind is str else name.encode() for name in names]
    rows = load(written(tmp_path / "set", held))
    assert rows.ids[:2] == ["train[0]", "train[1]"]
    assert sorted(set(rows.labels["video_id"])) == ["test", "train", "valid"]


def test_rows_without_ids_are_numbered(tmp_path: Path) -> None:
    rows = load(written(tmp_path / "set", content(ids=False)))
    assert rows.ids[3:6] == ["train-3", "valid-0", "valid-1"]
    assert (rows.grouping, "video_id" in rows.labels) == (None, False)


def test_it_can_be_encoded(tmp_path: Path) -> None:
    rows = load(written(tmp_path / "set", content()))
    inputs, masks = encode(rows, fit_preprocessors(rows, np.arange(4)))
    assert {name: tuple(value.shape) for name, value in inputs.items()} == {
        "text": (9, 5, 300),
        "audio": (9, 7, 74),
        "video": (9, 7, 35),
    }
    assert all(mask.all() for mask in masks.values())


def broken(*, split: str = "valid", **entries: Any) -> dict[str, Any]:
    held = content()
    for name, value in entries.items():
        if value is None:
            del held[split][name]
        else:
            held[split][name] = value
    return held


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ([1, 2], r"mosei_senti_data\.pkl must hold train, valid and test, got list\."),
        ({"train": {}, "dev": {}}, r"must hold 'audio' in train, got \[\]\. Of the releases"),
        ({"dev": {}}, r"must hold train, valid and test, got \['dev'\]\."),
        (broken(audio=None), r"must hold 'audio' in valid, got \['id', 'labels', 'text', 'vision'\]"),
        (broken(vision=np.ones((2, 35))), r"vision of valid in .* got float64 of shape \(2, 35\)\."),
        (broken(text=np.ones((2, 5, 300), dtype=int)), r"text of valid .* got int64 of shape \(2, 5, 300\)"),
        (broken(text=np.ones((3, 5, 300))), r"valid of mosei_senti_data\.pkl must have the same number of"),
        (broken(audio=np.ones((2, 7, 5))), r"audio of mosei_senti_data\.pkl must have one width in all spl"),
        (broken(labels=np.ones((2, 1, 7))), r"labels of .* must be a number per row, got float64 of shape"),
        (broken(labels=np.array([[["a"]]] * 2)), r"labels of .* must be a number per row, got <U1"),
        (broken(labels=np.full((2, 1, 1), 3.5)), r"labels of .* must be from -3 to 3, got 3\.5\."),
        (broken(labels=np.full((2, 1, 1), np.nan)), r"labels of .* must be from -3 to 3, got nan\."),
    ],
)
def test_another_form_is_refused(tmp_path: Path, held: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_mosei(written(tmp_path / "set", held))


def test_a_folder_without_the_file_says_what_it_must_hold(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must hold one of mosei_senti_data\.pkl, .*, got none\."):
        read_mosei(tmp_path)
