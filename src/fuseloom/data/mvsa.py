"""MVSA-Single and MVSA-Multiple: whether a tweet and its picture are positive, neutral or negative."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Modality, Text
from fuseloom.data.files import file_bytes
from fuseloom.data.mvsa_lists import LABELS, Tweet, find_set, read_tweets
from fuseloom.data.ragged import Problems
from fuseloom.data.source import Source
from fuseloom.data.tagged_pictures import find_pictures, picture_folders
from fuseloom.errors import DataError

__all__ = ["FILES", "find_set", "read_mvsa"]

FILES = ("labelResultAll.txt", "data")
"""What the folder of the set holds, where it is not a fold or lists of other authors."""

_PICTURES = ("data", "dataset_image", "images", "")
_PARTS = 10
"""One part in ten is tested, and one validated."""


def read_mvsa(folder: Path | str, *, images: Path | str | None = None, seed: int | None = None) -> Source:
    """Read MVSA from its folder as published, or with the fold or the lists of other authors in it.

    *As published*: ``labelResultAll.txt`` and ``data/<id>.txt`` and ``<id>.jpg``. Of three annotators
    (MVSA-Multiple) the label of the text is that of two, and so for the picture; without two of one mind a
    pair is left out. Then the two are combined: equal labels are kept, a neutral one yields to the other,
    and pairs of positive and negative are left out (Xu and Mao, 2017, and nearly all later papers).
    *The fold of CLMLF*: ``train.json``, ``dev.json`` and ``test.json``, in the folder or in ``10-flod-1``,
    which comparable scores are on. *Lists as MuSE's*: ``train.txt``, ``valid.txt`` and ``test.txt`` with a
    header that says ``guid`` and lines ``id,label``.

    A pair whose text or picture is not there or cannot be read is set aside. Where no picture is there at
    all, text is the only modality.

    Data: Niu et al., 2016, doi:10.1007/978-3-319-27674-8_2.

    Args:
        folder: Of the set.
        images: Holds ``<id>.jpg``; by default ``data``, ``dataset_image`` or ``images`` in the folder, or
            the folder itself.
        seed: Draws the field's split of 8 : 1 : 1, class by class, where no list gives one; by default
            rows are split as in any other set.

    Raises:
        DataError: a file that is not of its format, or a label that is none.
    """
    folder = Path(folder)
    name = find_set(folder)
    if name is None:
        raise DataError(
            f"{folder.name} must hold {FILES[0]} with one or three annotators, a fold of CLMLF (train.json, "
            "dev.json, test.json), or lists with a header that says guid, got none of them."
        )
    tweets, notes = read_tweets(folder)
    if not tweets:
        raise DataError(f"{folder.name} must hold a pair that papers keep, got none.")
    if seed is not None and all(one.split is None for one in tweets):
        tweets = _drawn(tweets, seed)
    ids = [one.id for one in tweets]
    if twice := sorted(one for one, count in Counter(ids).items() if count > 1):
        raise DataError(f"{folder.name} must name each pair once, got {twice[0]!r} again.")
    usual = [folder / one for one in _PICTURES]
    places = usual if images is None else picture_folders(folder, name, images)
    pictures = find_pictures(ids, ids, places)
    text, problems, recoded = _texts(tweets, folder)
    arrays: dict[str, Modality] = {"text": text}
    alone = pictures.modality is None
    if pictures.modality is not None:
        arrays["image"] = pictures.modality
    unseen = {
        row: f"image: {pictures.missing[one]}" for row, one in enumerate(ids) if one in pictures.missing
    }
    return Source(
        name=name,
        source_format=name,
        ids=ids,
        places=[f"{name} {one}" for one in ids],
        arrays=arrays,
        problems={"text": problems, "image": unseen},
        labels=_labels(tweets),
        root=folder,
        target="sentiment",
        target_kind="category",
        split_column="split" if tweets[0].split is not None else None,
        missing={"image": pictures.missing} if alone else {},
        notes=(*notes, *recoded, *(pictures.notes if alone else ())),
    )


def _drawn(tweets: Sequence[Tweet], seed: int) -> list[Tweet]:
    """The same with a split: of each class one part in ten is tested, and one validated."""
    generator = np.random.default_rng(seed)
    splits = np.full(len(tweets), "train", dtype=object)
    for label in LABELS:
        rows = generator.permutation([row for row, one in enumerate(tweets) if one.label == label])
        part = round(len(rows) / _PARTS)
        splits[rows[:part]], splits[rows[part : 2 * part]] = "test", "valid"
    return [replace(one, split=split) for one, split in zip(tweets, splits, strict=True)]


def _labels(tweets: Sequence[Tweet]) -> dict[str, NDArray[np.object_]]:
    """What is known of every pair."""
    names = {"sentiment": "label", "split": "split", "text_sentiment": "text_label"}
    columns = {
        name: [getattr(one, attribute) for one in tweets]
        for name, attribute in {**names, "image_sentiment": "image_label"}.items()
    }
    return {name: np.array(cells, dtype=object) for name, cells in columns.items() if cells[0] is not None}


def _texts(tweets: Sequence[Tweet], folder: Path) -> tuple[Text, Problems, tuple[str, ...]]:
    """Texts of the list, or of a file each; why there is none of some; and a note on those in Latin-1."""
    home = next((folder / one for one in _PICTURES if _holds(folder / one, tweets)), folder)
    values, problems, recoded = np.empty(len(tweets), dtype=object), Problems(), 0
    for row, one in enumerate(tweets):
        try:
            values[row], latin = (one.text, False) if one.text is not None else _read(home / f"{one.id}.txt")
        except DataError as error:
            problems[row] = f"text: {error}".rstrip(".")
            continue
        recoded += latin
        values[row] = values[row].strip()
        if not values[row]:
            problems[row] = f"text: {one.id}.txt: no word"
    notes = (f"text: {recoded:,} files are not in UTF-8, read as Windows-1252",) if recoded else ()
    return Text(values=values), problems, notes


def _holds(place: Path, tweets: Sequence[Tweet]) -> bool:
    return any((place / f"{one.id}.txt").is_file() for one in tweets[:_PARTS])


def _read(file: Path) -> tuple[str, bool]:
    """Text of a file, and whether it is not in UTF-8."""
    data = file_bytes(file)
    try:
        return data.decode("utf-8-sig"), False
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace"), True
