"""Twins of MVSA as published, with the fold of CLMLF, and with lists as MuSE's."""

import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image as Picture

from fuseloom.cli.group import fuseloom
from fuseloom.data import ReadOptions, load
from fuseloom.data.mvsa import read_mvsa
from fuseloom.errors import DataError

LABELS = ("positive", "neutral", "negative")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "MVSA_Single"
    (root / "data").mkdir(parents=True)
    lines = ["ID\ttext,image"]
    for number in range(1, 61):
        label = LABELS[number % 3]
        lines.append(f"{number}\t{label},{label}")
        (root / "data" / f"{number}.txt").write_text(f"tweet {number} \n", "utf-8")
        Picture.new("RGB", (6, 4), (number,) * 3).save(root / "data" / f"{number}.jpg")
    (root / "labelResultAll.txt").write_bytes("\r\n".join([*lines, "61\tpositive,negative", ""]).encode())
    return root


def test_published_labels_texts_and_pictures_become_rows(folder: Path) -> None:
    rows = load(folder)
    assert rows.name == "mvsa-single"
    assert {name: one.kind for name, one in rows.modalities.items()} == {"text": "text", "image": "image"}
    assert rows.target.tolist()[:3] == ["neutral", "negative", "positive"]
    assert rows.modalities["text"].values[0] == "tweet 1"
    assert rows.modalities["image"].items[0] == folder / "data" / "1.jpg"
    assert (len(rows), rows.split) == (60, None)
    assert rows.labels["image_sentiment"].tolist()[:2] == ["neutral", "negative"]
    assert "left out as papers do: 1 pairs without one sign" in rows.notes


def test_a_pair_that_lacks_its_text_or_picture_is_set_aside(folder: Path) -> None:
    data = folder / "data"
    (data / "1.jpg").unlink()
    (data / "2.jpg").write_bytes(b"no picture")
    (data / "3.txt").unlink()
    (data / "4.txt").write_bytes(b" \n")
    rows = load(folder)
    reasons = {one.where: one.reason for one in rows.set_aside}
    assert reasons.pop("mvsa-single 3").startswith("text: 3.txt must be a file that can be read")
    assert reasons == {
        "mvsa-single 1": "image: 1.jpg: no such file",
        "mvsa-single 2": "image: 2.jpg: not a picture in a known format",
        "mvsa-single 4": "text: 4.txt: no word",
    }
    assert len(rows) == 56
    without = load(folder, ReadOptions(kinds={"image": "ignore"}))
    assert len(without) == 58
    checked = CliRunner().invoke(fuseloom, ["data", "check", str(folder)])
    assert checked.exit_code == 1
    assert "2.jpg: not a picture in a known format" in checked.stdout


def test_text_in_another_encoding_is_read(folder: Path) -> None:
    (folder / "data" / "1.txt").write_bytes("M\u00fcnchen \u2019".encode("cp1252"))
    rows = load(folder)
    assert rows.modalities["text"].values[0] == "M\u00fcnchen \u2019"
    assert "text: 1 files are not in UTF-8, read as Windows-1252" in rows.notes


def test_without_pictures_there_is_text_alone(folder: Path) -> None:
    for picture in (folder / "data").glob("*.jpg"):
        picture.unlink()
    rows = load(folder)
    assert list(rows.modalities) == ["text"]
    assert len(rows) == 60
    assert any("none of 60 pictures can be read, such as 1.jpg" in note for note in rows.notes)


def test_the_fields_split_is_drawn_class_by_class(folder: Path) -> None:
    one, same, other = (load(read_mvsa(folder, seed=seed)) for seed in (0, 0, 1))
    assert one.split.tolist() == same.split.tolist() != other.split.tolist()
    counts = Counter(zip(one.split.tolist(), one.target.tolist(), strict=True))
    sizes = {"train": 16, "valid": 2, "test": 2}
    assert counts == {(split, label): size for split, size in sizes.items() for label in LABELS}


def test_the_fold_gives_texts_labels_and_splits(folder: Path) -> None:
    (folder / "data").rename(folder / "dataset_image")
    (folder / "10-flod-1").mkdir()
    lists = {"train": ("7", 0), "dev": ("8", 1), "test": ("9", 2)}
    for name, (pair, label) in lists.items():
        entries = [{"id": pair, "text": f"of the fold {pair}", "emotion_label": label}]
        (folder / "10-flod-1" / f"{name}.json").write_text(json.dumps(entries))
    rows = load(folder)
    assert rows.modalities["text"].values.tolist() == ["of the fold 7", "of the fold 8", "of the fold 9"]
    assert rows.target.tolist() == list(LABELS)
    assert rows.split.tolist() == ["train", "valid", "test"]
    assert rows.modalities["image"].items[2] == folder / "dataset_image" / "9.jpg"
    assert load(read_mvsa(folder, seed=3)).split.tolist() == rows.split.tolist()


def test_lists_as_of_muse_name_files_in_the_same_folder(folder: Path) -> None:
    for number, split in enumerate(("train", "valid", "test"), start=1):
        (folder / "data" / f"{split}.txt").write_text(f"guid,label\n{number},neutral\n")
    rows = load(folder / "data")
    assert rows.name == "mvsa-single"
    assert rows.split.tolist() == ["train", "valid", "test"]
    assert rows.modalities["text"].values.tolist() == ["tweet 1", "tweet 2", "tweet 3"]
    assert set(rows.labels) == {"sentiment", "split"}


def test_pictures_may_lie_elsewhere(folder: Path, tmp_path: Path) -> None:
    Picture.new("RGB", (6, 4)).save(tmp_path / "7.jpg")
    rows = load(read_mvsa(folder, images=tmp_path))
    assert rows.ids == ["7"]
    with pytest.raises(DataError, match=r"images must be a folder that is there, got '.*absent'"):
        read_mvsa(folder, images=tmp_path / "absent")


def test_a_pair_that_is_named_twice_is_refused(folder: Path) -> None:
    with (folder / "labelResultAll.txt").open("a") as file:
        file.write("7\tneutral,neutral\n")
    with pytest.raises(DataError, match=r"MVSA_Single must name each pair once, got '7' again\."):
        load(folder)


def test_a_list_without_a_pair_is_refused(folder: Path) -> None:
    (folder / "labelResultAll.txt").write_text("ID\ttext,image\n1\tpositive,negative\n")
    with pytest.raises(DataError, match=r"MVSA_Single must hold a pair that papers keep, got none\."):
        load(folder)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"must hold labelResultAll\.txt with one or three annotators, a fold"
    ):
        read_mvsa(tmp_path)
