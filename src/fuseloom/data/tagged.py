"""Sentences of tagged words, each with a picture or without: the IMGID format, CoNLL, and JSON lines."""

from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Dataset, Modality, SetAside, Text
from fuseloom.data.planning import SPLIT_WORDS
from fuseloom.data.records import json_object
from fuseloom.data.source import Source
from fuseloom.data.tagged_lines import JSON_ENDS, Sentence, read_sentences
from fuseloom.data.tagged_pictures import find_pictures, picture_folders
from fuseloom.errors import DataError

__all__ = ["is_tagged", "read_tagged", "tagged_files", "with_tags"]

_ENDS = (".txt", ".conll", ".bio", ".iob", ".iob2", *JSON_ENDS)
_TAGGED_ENDS = (".conll", ".bio", ".iob", ".iob2")
"""Endings that no other file has."""
_ENTRIES = {"id", "image", "tags", "tokens"}
_PICTURE = "picture"
_NO_BREAK = "\u00a0"


def is_tagged(path: Path) -> bool:
    """Whether a file, or the files of a folder by the names of splits, hold tagged sentences."""
    if not path.is_dir():
        return path.is_file() and _holds_sentences(path)
    files = [file for file in path.iterdir() if _split_of(file) is not None]
    return bool(files) and not any(path.glob("*.npy"))


def tagged_files(folder: Path) -> dict[str, Path]:
    """Split -> its file, in the order train, valid, test.

    Raises:
        DataError: two files of one split.
    """
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        split = _split_of(file)
        if split in found:
            raise DataError(
                f"{folder.name} must hold one file per split, got {found[split].name} and {file.name}."
            )
        if split is not None:
            found[split] = file
    return {split: found[split] for split in ("train", "valid", "test") if split in found}


def read_tagged(
    path: Path | str,
    *,
    images: Path | str | None = None,
    types: Sequence[str] | Mapping[str, str] | None = None,
    name: str | None = None,
) -> Source:
    r"""Read tagged sentences of a file, or of the files ``train``, ``valid`` and ``test`` of a folder.

    Three formats are known. *IMGID*, of the published Twitter sets: a line ``IMGID:<id>``, a line
    ``word<TAB>tag`` for each word, an empty line; the picture is ``<id>.jpg``. *CoNLL*: a line for each word,
    the word first and its tag last, columns separated by tabs or blanks, an empty line between sentences;
    the picture is the path in a column between, or in a line ``# image = <path>`` above. *JSON lines*:
    ``{"tokens": [...], "tags": [...], "image": "<path>"}``. A file without tags can be predicted.

    A row's text is its words with one blank between them, and its target as many tags: ``O``, and ``B-``,
    ``I-``, ``E-`` or ``S-`` before a type (prefixes of BILOU and BMES are read as these). An ``I-`` that
    continues nothing is kept. A picture that is not there or cannot be read is missing in its row, counted
    and named, and never replaced; where there is none at all, text is the only modality.

    Args:
        path: A file, or a folder.
        images: Folder of the pictures. By default ``<folder>_images`` in or beside the folder, ``images`` in
            it, or the folder itself; paths are relative to the folder.
        types: Types of entities that there may be, or such as the files spell them -> as they are called.
            By default any.
        name: What the data are called; by default as the file or folder.

    Raises:
        DataError: a line that is not of the format, a tag that is not of the scheme, files of another task,
            or no sentence.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "tweets.conll"
        >>> _ = file.write_text("Ann B-PER\nsings O\n\nin O\nRome B-LOC\n")
        >>> source = read_tagged(file)
        >>> source.arrays["text"].values.tolist(), source.labels["tags"].tolist()
        (['Ann sings', 'in Rome'], ['B-PER O', 'O B-LOC'])
    """
    path = Path(path)
    spelled = types if types is None or isinstance(types, Mapping) else {kind: kind for kind in types}
    sentences, splits, aside = _sentences(path, spelled)
    if not sentences:
        reason = f"; {aside[0].where}: {aside[0].reason}" if aside else ""
        raise DataError(f"{path.name} must hold a sentence of tagged words, got none{reason}.")
    ids = _ids(sentences, splits)
    root = path if path.is_dir() else path.parent
    named = name if name is not None else path.resolve().name
    pictures = find_pictures([one.image for one in sentences], ids, picture_folders(root, named, images))
    text, blanks = _text(sentences)
    arrays: dict[str, Modality] = {"text": text}
    if pictures.modality is not None:
        arrays["image"] = pictures.modality
    return Source(
        name=named,
        source_format="tagged",
        ids=ids,
        places=[f"{named} {one.place}" for one in sentences],
        arrays=arrays,
        labels=_labels(sentences, splits),
        root=root,
        target="tags",
        target_kind="category",
        tagged=True,
        split_column=None if splits is None else "split",
        grouping=_PICTURE if _share_pictures(sentences) else None,
        set_aside=tuple(replace(one, where=f"{named} {one.where}") for one in aside),
        missing={"image": pictures.missing} if pictures.missing else {},
        notes=(*blanks, *_orphan_notes(sentences), *pictures.notes),
    )


def with_tags(rows: Dataset) -> Dataset:
    """Rows whose target, tags with blanks between them, is a tuple of them in each; unknown is ``None``."""
    if rows.target is None:
        return rows
    tags = [None if joined is None else tuple(joined.split(" ")) for joined in rows.target.tolist()]
    notes = [note for note in rows.notes if not note.startswith("target: ")]
    note = f"target {rows.schema.target!r} is read as a tag for each word"
    return replace(rows, target=_objects(tags), notes=(note, *notes) if rows.notes else ())


def _sentences(
    path: Path, types: Mapping[str, str] | None
) -> tuple[list[Sentence], list[str] | None, list[SetAside]]:
    """Sentences, the split of each where a folder says it, and what is none."""
    if not path.is_dir():
        found, aside = read_sentences(path, types)
        return found, None, aside
    sentences: list[Sentence] = []
    splits: list[str] = []
    lacking: list[SetAside] = []
    for split, file in tagged_files(path).items():
        found, aside = read_sentences(file, types)
        sentences += found
        splits += [split] * len(found)
        lacking += aside
    return sentences, splits, lacking


def _split_of(file: Path) -> str | None:
    return SPLIT_WORDS.get(file.stem.lower()) if file.suffix.lower() in _ENDS else None


def _holds_sentences(path: Path) -> bool:
    end = path.suffix.lower()
    if end in _TAGGED_ENDS:
        return True
    if end not in _ENDS:
        return False
    with path.open("rb") as file:
        start = file.readline()
    return _is_tagged_entry(start) if end in JSON_ENDS else start.removeprefix(BOM_UTF8).startswith(b"IMGID:")


def _is_tagged_entry(line: bytes) -> bool:
    """Whether a line of JSON has words and nothing but what belongs to them."""
    try:
        names = json_object(line).keys()
    except DataError:
        return False
    return "tokens" in names and names <= _ENTRIES


def _ids(sentences: Sequence[Sentence], splits: Sequence[str] | None) -> list[str]:
    """What the files call the sentences or else their pictures, if each has its own; else their numbers."""
    for names in ([one.name for one in sentences], [one.image for one in sentences]):
        if _are_ids(names):
            return [str(name) for name in names]
    if splits is None:
        return [str(number) for number in range(len(sentences))]
    before: Counter[str] = Counter()
    ids = []
    for split in splits:
        ids.append(f"{split}-{before[split]}")
        before[split] += 1
    return ids


def _labels(sentences: Sequence[Sentence], splits: Sequence[str] | None) -> dict[str, NDArray[np.object_]]:
    """Tags with one blank between them, the split, and what the file calls the sentence and the picture."""
    labels = {"tags": _objects([None if one.tags is None else " ".join(one.tags) for one in sentences])}
    if splits is not None:
        labels["split"] = _objects(splits)
    names = [one.name for one in sentences]
    if _are_ids(names) and any(one.name != one.image for one in sentences):
        labels["id"] = _objects(names)  # before the picture, which could be taken for it
    if any(one.image is not None for one in sentences):
        labels[_PICTURE] = _objects([one.image for one in sentences])
    return labels


def _share_pictures(sentences: Sequence[Sentence]) -> bool:
    """Whether every sentence has a picture and some have the same."""
    pictures = {one.image for one in sentences}
    return None not in pictures and len(pictures) < len(sentences)


def _are_ids(names: Sequence[str | None]) -> bool:
    return len(set(names)) == len(names) and None not in names


def _text(sentences: Sequence[Sentence]) -> tuple[Text, tuple[str, ...]]:
    """Words with one blank between them, and a note where words hold blanks of their own."""
    blanks = sum(" " in word for one in sentences for word in one.words)
    texts = [" ".join(word.replace(" ", _NO_BREAK) for word in one.words) for one in sentences]
    notes = (f"text: {blanks:,} words hold blanks, read as no-break spaces (U+00A0)",) if blanks else ()
    return Text(values=_objects(texts)), notes


def _orphan_notes(sentences: Sequence[Sentence]) -> tuple[str, ...]:
    orphans = 0
    for one in sentences:
        before = "O"
        for tag in one.tags or ():
            orphans += tag.startswith(("I-", "E-")) and (before[:1] in "OES" or before[2:] != tag[2:])
            before = tag
    note = f"tags: {orphans:,} continue no entity and are kept; the default score counts such as a first one"
    return (note,) if orphans else ()


def _objects(values: Sequence[object]) -> NDArray[np.object_]:
    items = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):  # at once, tuples of one length would become a second axis
        items[row] = value
    return items
