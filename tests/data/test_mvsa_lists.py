import json
from pathlib import Path

import pytest

from fuseloom.data.mvsa_lists import combined_label, find_set, majority_label, read_tweets
from fuseloom.errors import DataError

SINGLE = "ID\ttext,image\n"
MULTIPLE = "ID\ttext,image\ttext,image\ttext,image\n"
TWO = ("positive", "negative", "neutral")


def published(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "labelResultAll.txt").write_bytes(text.encode())
    return folder


def fold(folder: Path, **lists: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("train", "dev", "test"):
        default = [{"id": f"{name}1", "text": "so", "emotion_label": 0}]
        (folder / f"{name}.json").write_text(json.dumps(lists.get(name, default)))
    return folder


@pytest.mark.parametrize(
    ("text", "image", "label"),
    [
        ("positive", "positive", "positive"),
        ("neutral", "neutral", "neutral"),
        ("neutral", "negative", "negative"),
        ("positive", "neutral", "positive"),
        ("positive", "negative", None),
        ("negative", "positive", None),
    ],
)
def test_two_labels_are_combined(text: str, image: str, label: str | None) -> None:
    assert combined_label(text, image) == label


def test_a_majority_is_more_than_half() -> None:
    assert majority_label(TWO) is None
    assert majority_label(("negative", *TWO[:2])) == "negative"
    assert majority_label(("neutral",)) == "neutral"


def test_one_annotator_labels_each_pair(tmp_path: Path) -> None:
    lines = "3\tneutral,positive\r\n4\tpositive,negative\n\n5\tnegative,negative\n"
    folder = published(tmp_path / "a", SINGLE + lines)
    assert find_set(folder) == "mvsa-single"
    tweets, notes = read_tweets(folder)
    assert [(one.id, one.label, one.text_label, one.image_label) for one in tweets] == [
        ("3", "positive", "neutral", "positive"),
        ("5", "negative", "negative", "negative"),
    ]
    assert notes == ["left out as papers do: 1 pairs without one sign"]


def test_of_three_annotators_two_decide_on_text_and_picture(tmp_path: Path) -> None:
    rows = [
        "1\tpositive,neutral\tpositive,negative\tneutral,neutral",  # positive, neutral
        "2\tpositive,neutral\tnegative,neutral\tneutral,neutral",  # no majority on the text
        "3\tneutral,positive\tneutral,negative\tneutral,neutral",  # none on the picture
        "4\tnegative,positive\tnegative,positive\tneutral,neutral",  # they contradict
        "5\tnegative,neutral\tnegative,negative\tnegative,negative",
    ]
    folder = published(tmp_path / "a", MULTIPLE + "\n".join(rows))
    assert find_set(folder) == "mvsa-multiple"
    tweets, notes = read_tweets(folder)
    assert [(one.id, one.label) for one in tweets] == [("1", "positive"), ("5", "negative")]
    assert notes == [
        "left out as papers do: 2 pairs without two annotators of one mind",
        "left out as papers do: 1 pairs without one sign",
    ]


def test_the_fold_comes_before_the_published_labels(tmp_path: Path) -> None:
    folder = published(tmp_path / "MVSA-multiple", MULTIPLE)
    fold(folder / "10-flod-1", dev=[{"id": "9", "text": "well", "emotion_label": 2}])
    tweets, _ = read_tweets(folder)
    assert [(one.id, one.label, one.text, one.split) for one in tweets] == [
        ("train1", "positive", "so", "train"),
        ("9", "negative", "well", "valid"),
        ("test1", "positive", "so", "test"),
    ]


def test_lists_as_of_muse_are_read(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text(f"guid,label\n{split}1,neutral\n\n{split}2, positive\n")
    tweets, _ = read_tweets(tmp_path)
    assert [(one.id, one.label, one.split) for one in tweets][:3] == [
        ("train1", "neutral", "train"),
        ("train2", "positive", "train"),
        ("valid1", "neutral", "valid"),
    ]
    assert find_set(tmp_path) == "mvsa-single"


def test_without_published_labels_the_name_or_the_size_tells_the_set(tmp_path: Path) -> None:
    assert find_set(fold(tmp_path / "MVSA-multiple")) == "mvsa-multiple"
    many = [{"id": str(n), "text": "a", "emotion_label": 1} for n in range(5200)]
    assert find_set(fold(tmp_path / "large", train=many)) == "mvsa-multiple"
    assert find_set(fold(tmp_path / "small")) == "mvsa-single"


def test_other_folders_are_none_of_the_sets(tmp_path: Path) -> None:
    assert find_set(tmp_path / "absent") is None
    assert find_set(fold(tmp_path / "json", train=[{"text": "a"}])) is None
    assert find_set(published(tmp_path / "two", "ID\ta\tb\n")) is None
    (tmp_path / "train.txt").write_text("IMGID:1\n")
    assert find_set(tmp_path) is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "1\tpositive",
            r"labelResultAll\.txt:2 must have the labels of a text and its picture, got '1\\tpos",
        ),
        ("1\tpositive,good", r"labelResultAll\.txt:2: a label must be one of the set's, got 'good'\."),
        ("1\tpositive,positivee", r"got 'positivee'\. Did you mean 'positive'\? Known: negative, neutral"),
        ("1\ta,b\tc,d", r"labelResultAll\.txt:2 must have 2 columns"),
        ("../1\tneutral,neutral", r"labelResultAll\.txt:2 must begin with the name of a pair, got '\.\./1'"),
    ],
)
def test_a_label_line_of_another_form_is_refused(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_tweets(published(tmp_path / "a", SINGLE + line))


def test_a_fold_of_another_form_is_refused(tmp_path: Path) -> None:
    entry = {"id": "1", "text": "a", "emotion_label": 3}
    with pytest.raises(
        DataError, match=r"dev\.json must be a list of objects with id, text and emotion_label"
    ):
        read_tweets(fold(tmp_path / "a", dev=[entry]))
    with pytest.raises(DataError, match=r"test\.json must be a list of objects"):
        read_tweets(fold(tmp_path / "b", test={"a": 1}))
    (tmp_path / "b" / "train.json").write_text('[{"emotion_label"')
    with pytest.raises(DataError, match=r"train\.json must be JSON in UTF-8, got: "):
        read_tweets(tmp_path / "b")


def test_a_list_without_a_label_is_refused(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("guid,label\n1\n")
    with pytest.raises(DataError, match=r"train\.txt:2 must have 2 columns, got '1'\."):
        read_tweets(tmp_path)
