"""What is said of tagged sentences before anything is trained on them."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image as Picture

from fuseloom.cli.group import fuseloom
from fuseloom.data import check, describe, load

WORDS = ("Ann", "Bob", "Eve", "Max", "Zoe")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty sentences in three files, no two alike, each with a picture."""
    root = tmp_path / "mine"
    root.mkdir()
    number = 0
    for split in ("train", "valid", "test"):
        lines = []
        for _ in range(10):
            kind = "PER" if number % 2 else "LOC"
            lines.append(f"IMGID:{number}\n{WORDS[number % 5]}{number}\tB-{kind}\n.\tO\n")
            Picture.new("RGB", (6, 4), (number,) * 3).save(root / f"{number}.jpg")
            number += 1
        (root / f"{split}.txt").write_text("\n".join(lines))
    return root


def test_nothing_is_wrong_with_whole_sentences(folder: Path) -> None:
    assert check(load(folder)).findings == ()


def test_pictures_that_are_missing_or_damaged_are_named(folder: Path) -> None:
    (folder / "3.jpg").unlink()
    (folder / "7.jpg").write_bytes(b"no picture")
    rows = load(folder)
    assert len(rows) == 30
    (found,) = check(rows).findings
    assert (found.severity, found.kind, found.count) == ("warning", "missing-files", 2)
    assert found.where == ("3: 3.jpg: no such file", "7: 7.jpg: not a picture in a known format")
    shown = CliRunner().invoke(fuseloom, ["data", "check", str(folder)])
    assert shown.exit_code == 0
    assert "files of image are not there or cannot be read" in shown.stdout
    assert "- 7: 7.jpg: not a picture in a known format" in shown.stdout
    assert CliRunner().invoke(fuseloom, ["data", "check", str(folder), "--strict"]).exit_code == 1


def test_a_set_without_any_picture_says_so(folder: Path) -> None:
    for picture in folder.glob("*.jpg"):
        picture.unlink()
    (found,) = check(load(folder)).findings
    assert (found.kind, found.count) == ("missing-files", 30)


def test_a_type_that_is_never_trained_is_an_error(folder: Path) -> None:
    text = (folder / "test.txt").read_text().replace("B-LOC", "B-LCO", 1)
    (folder / "test.txt").write_text(text)
    (found,) = check(load(folder)).findings
    assert (found.severity, found.kind, found.where) == ("error", "untrained-classes", ("LCO",))


def test_sentences_in_two_splits_are_found(folder: Path) -> None:
    first = (folder / "train.txt").read_text().partition("\n\n")[0]
    text = (folder / "test.txt").read_text().partition("\n\n")[2]
    (folder / "test.txt").write_text(f"{first.replace('IMGID:0', 'IMGID:99')}\n\n{text}")
    (folder / "99.jpg").write_bytes((folder / "0.jpg").read_bytes())
    (found,) = check(load(folder)).findings
    assert (found.kind, found.where) == ("copies-across-splits", ("0 (train) = 99 (test)",))


def test_tags_are_described_by_their_entities(folder: Path) -> None:
    text = (folder / "train.txt").read_text().replace("B-LOC", "O", 1)
    (folder / "train.txt").write_text(text)
    target = describe(load(folder)).target
    assert target is not None
    assert (target.name, target.kind) == ("tags", "tagging")
    assert target.shape == "3 tags of 60 words, 29 entities"
    assert target.counts == {"PER": 15, "LOC": 14, "(no entity)": 1}
    shown = CliRunner().invoke(fuseloom, ["data", "describe", str(folder)])
    assert "PER 15 (50.0%), LOC 14 (46.7%), (no entity) 1 (3.3%)" in shown.stdout
