"""Twins of the Twitter sets and of MT-Product as users have them, and the published files."""

import hashlib
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image as Picture

from fuseloom.data import load
from fuseloom.data.named import recognised
from fuseloom.data.twitter import (
    find_set,
    parsed_digest,
    read_mt_product,
    read_twitter2015,
    read_twitter2017,
)
from fuseloom.errors import DataError
from fuseloom.metrics.spans import entity_spans

TWEETS = {
    "twitter2015": (
        "IMGID:1015799\nRT\tO\n@Ann\tO\nGeorge\tB-PER\nZ\tI-PER\n\n"
        "IMGID:52799\nOlympic\tB-OTHER\nrings\tI-OTHER\nin\tO\nRome\tI-LOC\n"
    ),
    "twitter2017": "IMGID:17_06_12483\nPost\tO\nNBA\tB-ORG\n\nIMGID:O_1926\n\u200b\tO\nFair\tB-MISC\n\n",
    "mt-product": "IMGID:33618\n\u7ea2\tO\n\u9152\tB-MISC\n\u676f\tI-MISC\n2\tO\n\n",
}
READERS = {
    "twitter2015": read_twitter2015,
    "twitter2017": read_twitter2017,
    "mt-product": read_mt_product,
}
PUBLISHED = {
    # sentences, words, longest, entities of B- alone, lenient ones, SHA-256 of the file
    "twitter2015/train": (4000, 64439, 37, 6166, 6352, "a6246e37aa1c8acd738747fa8257e01775f2a1cc0d4f"),
    "twitter2015/valid": (1000, 16178, 41, 1541, 1594, "9dcc7f9df7331de3c9cdf67a3450e041c41c6254b5e4"),
    "twitter2015/test": (3257, 52822, 36, 5072, 5207, "edb2665b89bfe58bca06a2c10b9b31cbfa95456135b6"),
    "twitter2017/train": (3373, 53007, 50, 6049, 6049, "801e149e8635b19d66b4ec1212c329be340ada501b35"),
    "twitter2017/valid": (723, 11309, 33, 1324, 1324, "41b5db90cb32059c14c2c3ccd50845fb77f1e3d3e4f7"),
    "twitter2017/test": (723, 11330, 33, 1351, 1351, ""),
}
TEST_TYPES = {
    "twitter2015": {"PER": 1873, "LOC": 1720, "ORG": 860, "MISC": 754},
    "twitter2017": {"PER": 621, "LOC": 178, "ORG": 395, "MISC": 157},
}


def twin(folder: Path, name: str) -> Path:
    """The text in each of the three files, under other ids."""
    folder.mkdir()
    for number, split in enumerate(("train", "valid", "test")):
        lines = [
            f"{line}{number}" if line.startswith("IMGID:") else line for line in TWEETS[name].split("\n")
        ]
        (folder / f"{split}.txt").write_text("\n".join(lines), "utf-8")
    return folder


@pytest.mark.parametrize("name", TWEETS)
def test_a_set_is_known_by_its_files_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    folder = twin(tmp_path / "data", name)
    assert find_set(folder) == name
    found = recognised(folder)
    assert found is not None
    assert found.read(folder).name == name
    rows = load(folder)
    assert (rows.name, rows.schema.source_format) == (name, name)
    assert Counter(rows.split.tolist()) == dict.fromkeys(
        ("train", "valid", "test"), TWEETS[name].count("IMGID")
    )
    assert rows.target.tolist() == [
        tuple(joined.split(" ")) for joined in READERS[name](folder).labels["tags"]
    ]


def test_other_is_misc_and_orphans_are_kept(tmp_path: Path) -> None:
    rows = load(twin(tmp_path / "data", "twitter2015"))
    assert rows.target[1] == ("B-MISC", "I-MISC", "O", "I-LOC")
    assert "tags: type OTHER is read as MISC" in rows.notes
    assert any(note.startswith("tags: 3 continue no entity and are kept") for note in rows.notes)
    assert rows.ids[:2] == ["10157990", "527990"]


def test_sentences_that_are_not_the_published_ones_are_told(tmp_path: Path) -> None:
    rows = load(twin(tmp_path / "data", "twitter2017"))
    note = "splits: train, valid, test not as published, so scores compare with no paper's"
    assert note in rows.notes


def test_pictures_are_found_under_the_usual_names(tmp_path: Path) -> None:
    folder = twin(tmp_path / "data", "twitter2017")
    pictures = folder / "twitter2017_images"
    pictures.mkdir()
    Picture.new("RGB", (4, 4)).save(pictures / "17_06_124830.jpg")
    (pictures / "O_19260.jpg").write_bytes(b"no picture")
    source = read_twitter2017(folder)
    assert source.arrays["image"].items[0] == pictures / "17_06_124830.jpg"  # type: ignore[union-attr]
    assert source.missing["image"]["O_19260"] == "O_19260.jpg: not a picture in a known format"
    assert len(source.missing["image"]) == 5
    elsewhere = read_twitter2017(folder, images=tmp_path)
    assert list(elsewhere.arrays) == ["text"]
    assert any("none of 6 pictures can be read" in note for note in elsewhere.notes)


def test_files_of_another_set_or_none_are_not_known(tmp_path: Path) -> None:
    folder = twin(tmp_path / "data", "twitter2017")
    for first in ("IMGID:7\nAnn\tB-PER\n", "IMGID:img_7\nAnn\tB-PER\n", "Ann\tB-PER\n", ""):
        (folder / "train.txt").write_text(first)
        assert find_set(folder) is None
    (folder / "valid.txt").unlink()
    assert find_set(folder) is None
    with pytest.raises(
        DataError, match=r"data must hold train\.txt, valid\.txt, test\.txt, got no valid\.txt"
    ):
        read_twitter2015(folder)


def test_a_type_that_the_set_does_not_have_is_refused(tmp_path: Path) -> None:
    folder = twin(tmp_path / "data", "twitter2017")
    text = (folder / "test.txt").read_text("utf-8").replace("B-ORG", "B-OGR")
    (folder / "test.txt").write_text(text, "utf-8")
    with pytest.raises(DataError, match=r"test\.txt:3: a tag must .* got 'B-OGR'\. Did you mean 'B-ORG'\?"):
        load(folder)
    with pytest.raises(DataError, match=r"train\.txt:3: a tag must be one of the scheme, got 'B-ORG'"):
        read_mt_product(folder)


def test_the_digest_is_of_words_and_tags() -> None:
    digest = hashlib.sha256(b"7.jpg\tAnn\tsings\tB-PER\tO\n8.jpg\tso\tO\n").hexdigest()
    assert parsed_digest([("7", "Ann sings", "B-PER O"), ("8", "so", "O")]) == digest


@pytest.mark.parametrize("name", ["twitter2015", "twitter2017"])
def test_the_published_files_hold_what_papers_say(data_dir: Path, name: str) -> None:
    rows = load(data_dir / name)
    assert not [note for note in rows.notes if "not as published" in note]
    assert rows.set_aside == ()
    for split in ("train", "valid", "test"):
        kept = rows.split == split
        tags, texts = rows.target[kept].tolist(), rows.modalities["text"].values[kept].tolist()
        sentences, words, longest, opened, lenient, digest = PUBLISHED[f"{name}/{split}"]
        lengths = [len(one) for one in tags]
        assert lengths == [len(text.split(" ")) for text in texts]
        assert (len(tags), sum(lengths), max(lengths)) == (sentences, words, longest)
        assert sum(tag.startswith("B-") for one in tags for tag in one) == opened
        spans = Counter(span.type for one in tags for span in entity_spans(one))
        assert spans.total() == lenient
        assert split != "test" or spans == TEST_TYPES[name]
        file = hashlib.sha256((data_dir / name / f"{split}.txt").read_bytes()).hexdigest()
        assert file.startswith(digest)
