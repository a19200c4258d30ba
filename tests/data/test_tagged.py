"""Tagged sentences of a person's own, in files and folders, as rows."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from fuseloom.data import ReadOptions, load, read_rows
from fuseloom.data.tagged import is_tagged, read_tagged, tagged_files
from fuseloom.errors import DataError

TRAIN = "Ann\tB-PER\nsings\tO\n\nin\tO\nNew York\tB-LOC\n"
IMGID = "IMGID:7\nAnn\tB-PER\nsings\tO\n\nIMGID:8\nRome\tI-LOC\n.\tO\n"


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_bytes(text.encode())
    return folder


def draw(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Picture.new("RGB", (6, 4)).save(path)


def test_a_folder_becomes_rows_of_text_and_tags_in_its_splits(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", train__conll=TRAIN, dev__conll="Bob B-PER\n", test__conll="so O\n")
    rows = load(folder)
    assert (rows.name, rows.schema.source_format) == ("mine", "tagged")
    assert rows.modalities["text"].values.tolist() == ["Ann sings", "in New\u00a0York", "Bob", "so"]
    assert rows.target.dtype == object
    assert rows.target.tolist() == [("B-PER", "O"), ("O", "B-LOC"), ("B-PER",), ("O",)]
    assert rows.split.tolist() == ["train", "train", "valid", "test"]
    assert rows.ids == ["train-0", "train-1", "valid-0", "test-0"]
    assert list(rows.modalities) == ["text"]
    words = [len(text.split(" ")) for text in rows.modalities["text"].values]
    assert words == [len(tags) for tags in rows.target]
    assert "text: 1 words hold blanks, read as no-break spaces (U+00A0)" in rows.notes
    assert "target 'tags' is read as a tag for each word" in rows.notes


def test_pictures_of_ids_lie_in_a_folder_beside_the_text(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", train__txt=IMGID)
    draw(tmp_path / "mine_images" / "7.jpg")
    source = read_tagged(folder)
    assert source.arrays["image"].items.tolist() == [tmp_path / "mine_images" / "7.jpg", None]  # type: ignore[union-attr]
    assert source.missing == {"image": {"8": "8.jpg: no such file"}}
    rows = load(folder)
    assert rows.ids == ["7", "8"]
    assert [item is None for item in rows.modalities["image"].items] == [False, True]
    assert rows.set_aside == ()
    assert "image: 1 of 2 pictures are missing in their rows: 8.jpg: no such file" in rows.notes
    assert any(note.startswith("tags: 1 continue no entity and are kept") for note in rows.notes)


def test_paths_of_pictures_are_relative_to_the_file(tmp_path: Path) -> None:
    draw(tmp_path / "pics" / "a.png", tmp_path / "elsewhere" / "pics" / "b.png")
    lines = '{"tokens": ["Ann"], "tags": ["B-PER"], "image": "pics/a.png"}\n'
    lines += '{"tokens": ["so"], "tags": ["O"], "image": "pics/b.png"}\n'
    (tmp_path / "mine.jsonl").write_text(lines)
    rows = load(tmp_path / "mine.jsonl")
    assert rows.modalities["image"].items.tolist() == [tmp_path / "pics" / "a.png", None]
    other = read_tagged(tmp_path / "mine.jsonl", images=tmp_path / "elsewhere")
    assert other.missing["image"] == {"pics/a.png": "pics/a.png: no such file"}


def test_rows_are_called_as_the_file_says_or_as_their_pictures(tmp_path: Path) -> None:
    block = "# image = pics/{0}.png\nAnn B-PER\n\n"
    (tmp_path / "mine.conll").write_text("".join(block.format(name) for name in ("a1", "b2")))
    rows = load(tmp_path / "mine.conll")
    assert rows.ids == ["pics/a1.png", "pics/b2.png"]
    named = "".join(f"# id = s{n}\n{block.format(name)}" for n, name in enumerate(("a1", "b2")))
    (tmp_path / "mine.conll").write_text(named)
    rows = load(tmp_path / "mine.conll")
    assert rows.ids == ["s0", "s1"]
    assert read_tagged(tmp_path / "mine.conll").missing["image"]["s1"] == "pics/b2.png: no such file"


def test_a_person_may_leave_pictures_out(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", train__txt=IMGID)
    draw(folder / "7.jpg")
    assert list(load(folder, ReadOptions(kinds={"image": "ignore"})).modalities) == ["text"]


def test_one_picture_of_two_sentences_is_told_where_it_stands_in_two_splits(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", train__txt=IMGID, test__txt="IMGID:7\nBob\tB-PER\n")
    rows = load(folder)
    assert rows.ids == ["train-0", "train-1", "test-0"]
    assert rows.labels["picture"].tolist() == ["7", "8", "7"]
    assert any(note.startswith("1 of 2 of 'picture' stand in two splits") for note in rows.notes)


def test_types_may_be_named_and_renamed(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", train__txt=IMGID)
    renamed = read_tagged(folder, types={"PER": "person", "LOC": "place"})
    assert renamed.labels["tags"].tolist() == ["B-person O", "I-place O"]
    with pytest.raises(
        DataError, match=r"train\.txt:2: a tag must be .* got 'B-PER'\. Did you mean 'B-PR'\?"
    ):
        read_tagged(folder, types=["PR", "LOC"])


def test_sentences_of_one_length_are_still_a_tuple_each(tmp_path: Path) -> None:
    rows = load(write(tmp_path / "mine", train__bio="a O\nb O\n\nc O\nd B-X\n"))
    assert rows.target.shape == (2,)
    assert rows.target[1] == ("O", "B-X")


def test_a_file_alone_has_no_split(tmp_path: Path) -> None:
    (tmp_path / "mine.bio").write_text("a O\n\nb B-X\n")
    rows = load(tmp_path / "mine.bio")
    assert (rows.split, rows.ids) == (None, ["0", "1"])


def test_sentences_without_tags_are_predicted(tmp_path: Path) -> None:
    schema = load(write(tmp_path / "mine", train__txt=IMGID)).schema
    (tmp_path / "new.txt").write_text("IMGID:9\nEve\n.\n")
    rows = read_rows(tmp_path / "new.txt", schema)
    assert rows.modalities["text"].values.tolist() == ["Eve ."]
    assert rows.target.tolist() == [None]
    (tmp_path / "new.jsonl").write_text('{"tokens": ["Eve"]}\n')
    assert read_rows(tmp_path / "new.jsonl", schema).target.tolist() == [None]
    tagged = read_rows(tmp_path / "mine", schema)
    assert tagged.target.tolist() == [("B-PER", "O"), ("I-LOC", "O")]
    assert read_rows({"text": ["Eve ."]}, schema).target is None


def test_a_sentence_without_tags_among_tagged_ones_is_set_aside(tmp_path: Path) -> None:
    rows = load(write(tmp_path / "mine", train__txt=IMGID, test__txt="IMGID:9\nEve\n"))
    assert rows.ids == ["7", "8"]
    assert [(one.where, one.reason) for one in rows.set_aside] == [
        ("mine test.txt:1", "target 'tags' must be known, got no value")
    ]


@pytest.mark.parametrize(
    ("name", "text", "tagged"),
    [
        ("a.txt", IMGID, True),
        ("a.txt", "\ufeff" + IMGID, True),
        ("a.txt", "Ann\tB-PER\n", False),
        ("a.iob2", "Ann B-PER\n", True),
        ("a.csv", IMGID, False),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["O"]}', True),
        ("a.jsonl", '{"tokens": ["a"], "score": 1}', False),
        ("a.jsonl", '{"tags": ["a"]}', False),
        ("a.jsonl", "no json", False),
    ],
)
def test_files_of_sentences_are_recognised(tmp_path: Path, name: str, text: str, tagged: bool) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    assert is_tagged(tmp_path / name) is tagged


def test_folders_of_sentences_are_recognised_by_the_names_of_splits(tmp_path: Path) -> None:
    assert not is_tagged(tmp_path / "absent")
    assert not is_tagged(write(tmp_path / "a", notes__txt="x"))
    folder = write(tmp_path / "b", Training__conll="x", Val__conll="x", test__conll="x", more__conll="x")
    assert is_tagged(folder)
    assert {split: file.name for split, file in tagged_files(folder).items()} == {
        "train": "Training.conll",
        "valid": "Val.conll",
        "test": "test.conll",
    }
    np.save(folder / "audio.npy", np.ones((1, 2)))
    assert not is_tagged(folder)


def test_two_files_of_a_split_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", dev__txt=IMGID, valid__txt=IMGID)
    with pytest.raises(DataError, match=r"mine must hold one file per split, got dev\.txt and valid\.txt\."):
        load(folder)


@pytest.mark.parametrize(
    ("text", "got"), [("", "none"), ("IMGID:1\n", r"none; train\.txt:1: no word follows")]
)
def test_files_without_a_sentence_are_refused(tmp_path: Path, text: str, got: str) -> None:
    with pytest.raises(DataError, match=rf"mine must hold a sentence of tagged words, got {got}"):
        load(write(tmp_path / "mine", train__txt=text))


def test_the_files_of_another_task_are_refused_by_their_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "twitter2015", train__txt="I like $T$ .\nAnn\n1\n7.jpg\n", test__txt="")
    with pytest.raises(DataError, match=r"that is target-oriented sentiment, four lines per sample"):
        load(folder)
