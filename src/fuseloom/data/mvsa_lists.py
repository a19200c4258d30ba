"""Which pairs MVSA has and how they are labelled: as published, in CLMLF's fold, or in lists as MuSE's."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuseloom.data.files import file_bytes
from fuseloom.data.tagged_lines import text_lines
from fuseloom.errors import DataError, did_you_mean

__all__ = ["LABELS", "Tweet", "combined_label", "find_set", "majority_label", "read_tweets"]

LABELS = ("positive", "neutral", "negative")
"""In the order of their numbers in the fold of CLMLF."""

_RAW = "labelResultAll.txt"
_SPLITS = ("train", "valid", "test")
_FOLD = {"train": "train.json", "valid": "dev.json", "test": "test.json"}
_FOLD_FOLDERS = ("", "10-flod-1", "10-fold-1")
_MOST_SINGLE = 5129
"""Pairs of MVSA-Single that any paper speaks of."""
_SETS = {1: "mvsa-single", 3: "mvsa-multiple"}
"""Number of annotators -> set."""
_START = 4096


@dataclass(frozen=True, kw_only=True)
class Tweet:
    """A pair of a text and a picture, and what it was found to be."""

    id: str
    label: str
    text: str | None = None
    """None where it stands in a file of its own."""
    split: str | None = None
    text_label: str | None = None
    image_label: str | None = None


def find_set(folder: Path) -> str | None:
    """``mvsa-single`` or ``mvsa-multiple``, if a folder is one of them."""
    if (folder / _RAW).is_file():
        return _SETS.get(next(iter(text_lines(folder / _RAW))).count("\t"))
    if _fold(folder) is None and not _has_lists(folder):
        return None
    if "multiple" in str(folder.resolve()).lower():
        return _SETS[3]
    return _SETS[3] if len(read_tweets(folder)[0]) > _MOST_SINGLE else _SETS[1]


def read_tweets(folder: Path) -> tuple[list[Tweet], list[str]]:
    """Pairs of the fold or the lists where there are any, else of the published labels; and notes on them.

    Raises:
        DataError: a file that is not of its format, or a label that is none.
    """
    fold = _fold(folder)
    if fold is not None:
        return [one for split in _SPLITS for one in _of_fold(fold, split)], []
    if _has_lists(folder):
        return [one for split in _SPLITS for one in _of_list(folder / f"{split}.txt", split)], []
    return _published(folder / _RAW)


def majority_label(labels: Sequence[str]) -> str | None:
    """The label of more than half of the annotators; ``None`` where they do not agree.

    Example:
        >>> majority_label(["neutral", "positive", "neutral"]), majority_label(["neutral", "positive"])
        ('neutral', None)
    """
    label, count = Counter(labels).most_common(1)[0]
    return label if 2 * count > len(labels) else None


def combined_label(text: str, image: str) -> str | None:
    """The label of a pair: that of both, or of the one that is not neutral; ``None`` where they contradict.

    Example:
        >>> combined_label("neutral", "positive"), combined_label("negative", "positive")
        ('positive', None)
    """
    if text == image or image == "neutral":
        return text
    return image if text == "neutral" else None


def _fold(folder: Path) -> Path | None:
    """The folder of the fold, if there is one."""
    for place in (folder / name for name in _FOLD_FOLDERS):
        if all((place / file).is_file() for file in _FOLD.values()):
            with (place / _FOLD["train"]).open("rb") as file:
                return place if b'"emotion_label"' in file.read(_START) else None
    return None


def _has_lists(folder: Path) -> bool:
    if not all((folder / f"{split}.txt").is_file() for split in _SPLITS):
        return False
    with (folder / "train.txt").open("rb") as file:
        return b"guid" in file.readline()


def _of_fold(folder: Path, split: str) -> list[Tweet]:
    file = folder / _FOLD[split]
    try:
        entries = json.loads(file_bytes(file).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file.name} must be JSON in UTF-8, got: {error}.") from None
    if not isinstance(entries, list) or not all(_is_entry(one) for one in entries):
        raise DataError(f"{file.name} must be a list of objects with id, text and emotion_label 0, 1 or 2.")
    return [
        Tweet(id=one["id"], label=LABELS[one["emotion_label"]], text=one["text"], split=split)
        for one in entries
    ]


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and all(isinstance(entry.get(name), str) for name in ("id", "text"))
        and entry.get("emotion_label") in range(len(LABELS))
    )


def _of_list(file: Path, split: str) -> list[Tweet]:
    tweets = []
    for number, line in enumerate(text_lines(file)[1:], start=2):
        if line.strip():
            cells = [cell.strip() for cell in line.split(",")]
            _check_cells(cells, 2, f"{file.name}:{number}", line)
            label = _label(cells[1], f"{file.name}:{number}")
            tweets.append(Tweet(id=cells[0], label=label, split=split))
    return tweets


def _published(file: Path) -> tuple[list[Tweet], list[str]]:
    head, *lines = text_lines(file)
    tweets, why = [], Counter[str]()
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        place = f"{file.name}:{number}"
        cells = [cell.strip() for cell in line.split("\t")]
        _check_cells(cells, 1 + head.count("\t"), place, line)
        pairs = [[_label(label.strip(), place) for label in cell.split(",")] for cell in cells[1:]]
        if any(len(pair) != 2 for pair in pairs):
            raise DataError(f"{place} must have the labels of a text and its picture, got {line!r}.")
        text, image = (majority_label(labels) for labels in zip(*pairs, strict=True))
        label = None if text is None or image is None else combined_label(text, image)
        if label is None:
            why["two annotators of one mind" if text is None or image is None else "one sign"] += 1
            continue
        tweets.append(Tweet(id=cells[0], label=label, text_label=text, image_label=image))
    return tweets, [f"left out as papers do: {count:,} pairs without {what}" for what, count in why.items()]


def _check_cells(cells: Sequence[str], wanted: int, place: str, line: str) -> None:
    name = cells[0]
    if len(cells) != wanted:
        raise DataError(f"{place} must have {wanted} columns, got {line!r}.")
    if not name or Path(name).name != name:
        raise DataError(f"{place} must begin with the name of a pair, got {name!r}.")


def _label(label: str, place: str) -> str:
    if label not in LABELS:
        raise DataError(
            f"{place}: a label must be one of the set's, got {label!r}.{did_you_mean(label, LABELS)}"
        )
    return label
