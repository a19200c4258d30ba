"""CMU-MOSEI and CMU-MOSI, step by step: what is said, how it sounds and looks, and the sentiment of it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Embedding
from fuseloom.data.mapping import room
from fuseloom.data.pickles import read_pickle
from fuseloom.data.source import Source, check_lengths
from fuseloom.errors import DataError

__all__ = ["FILES", "read_mosei"]

FILES = (
    "mosei_senti_data.pkl",
    "mosei_senti_data_noalign.pkl",
    "mosi_data.pkl",
    "mosi_data_noalign.pkl",
    "mosi_raw.pkl",
)
"""Names the set is published under, word-aligned or not; one of them is read."""

_SPLITS = ("train", "valid", "test")
_MODALITIES: Mapping[str, str] = {"text": "text", "audio": "audio", "vision": "video"}
"""Entry of the file -> modality."""
_ROWS_AT_ONCE = 1024
_RANGE = 3.0

Entries = Mapping[str, NDArray[Any]]


def read_mosei(path: Path) -> Source:
    """Read a pickle of word vectors, COVAREP and FACET features, as published with MulT and MultiBench.

    The file is read without executing anything in it. It holds ``train``, ``valid`` and ``test``, each with
    ``text``, ``audio`` and ``vision`` ``[N, T, D]``, ``labels`` ``[N, 1, 1]`` from -3 to 3, and mostly
    ``id``. Steps of zeros before the first other one, or behind the last, are padding and masked. Numbers
    that are not finite, such as the minus infinity of a logarithm in ``audio``, become 0, as in every
    published loader. The target is ``polarity``: negative below 0, else positive, which calls a neutral
    sentence positive; ``--target sentiment`` is the number itself.

    Data: Zadeh et al., 2018, ACL P18-1208. The splits are the published ones. Rows of one video have the same
    ``video_id``.

    Args:
        path: The file, or the folder that holds it and no other of its kind.

    Raises:
        DataError: another form, or two such files in the folder.
    """
    file = _file(path)
    content = read_pickle(file)
    splits = {name: _entries(file, content, name) for name in _SPLITS}
    del content
    rows = {name: len(entries["labels"]) for name, entries in splits.items()}
    scores = np.concatenate([_scores(file, splits[name]["labels"]) for name in _SPLITS])
    names = [_names(splits[name].get("id"), name, rows[name]) for name in _SPLITS]
    ids = [row_id for of_split in names for row_id, _ in of_split]
    videos = [video for of_split in names for _, video in of_split]
    known = all(splits[name].get("id") is not None for name in _SPLITS)
    return Source(
        name=file.stem,
        source_format="mosei",
        ids=ids,
        places=[f"{file.stem} {row_id}" for row_id in ids],
        arrays={modality: _joined(file, splits, entry) for entry, modality in _MODALITIES.items()},
        labels={
            "polarity": np.array(["negative" if score < 0 else "positive" for score in scores], dtype=object),
            "sentiment": scores,
            "split": np.array([name for name in _SPLITS for _ in range(rows[name])], dtype=object),
            **({"video_id": np.array(videos, dtype=object)} if known else {}),
        },
        target="polarity",
        target_kind="category",
        split_column="split",
        grouping="video_id" if known else None,
    )


def _file(path: Path) -> Path:
    if path.is_file():
        return path
    found = [path / name for name in FILES if (path / name).is_file()]
    if len(found) != 1:
        names = " and ".join(file.name for file in found) or "none"
        raise DataError(
            f"{path.name} must hold one of {', '.join(FILES)}, got {names}. Pass the file's path."
        )
    return found[0]


def _entries(file: Path, content: Any, split: str) -> dict[str, NDArray[Any]]:
    """The arrays of a split, which all have as many rows."""
    found = content.get(split) if isinstance(content, dict) else None
    if not isinstance(found, dict):
        names = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{file.name} must hold train, valid and test, got {names}.")
    entries = {str(name): np.asarray(found[name]) for name in (*_MODALITIES, "labels", "id") if name in found}
    if missing := sorted({*_MODALITIES, "labels"} - entries.keys()):
        raise DataError(
            f"{file.name} must hold {missing[0]!r} in {split}, got {sorted(map(str, found))}. Of the "
            "releases of this set, those of MulT and MultiBench are read."
        )
    for name in _MODALITIES:
        if entries[name].ndim != 3 or entries[name].dtype.kind != "f" or 0 in entries[name].shape[1:]:
            shown = f"{entries[name].dtype} of shape {entries[name].shape}"
            raise DataError(f"{name} of {split} in {file.name} must be numbers [N, T, D], got {shown}.")
    check_lengths({name: len(value) for name, value in entries.items()}, owner=f"{split} of {file.name}")
    return entries


def _scores(file: Path, labels: NDArray[Any]) -> NDArray[np.float64]:
    if labels.dtype.kind not in "iuf" or labels.size != len(labels):
        raise DataError(
            f"labels of {file.name} must be a number per row, got {labels.dtype} of shape {labels.shape}."
        )
    scores = labels.reshape(-1).astype(np.float64)
    if not (np.abs(scores) <= _RANGE).all():
        strange = scores[~(np.abs(scores) <= _RANGE)][0]
        raise DataError(f"labels of {file.name} must be from -3 to 3, got {strange}.")
    return scores


def _names(ids: NDArray[Any] | None, split: str, rows: int) -> list[tuple[str, str]]:
    """What names each row, and its video: the first of video, start and end, or what stands before ``[``."""
    if ids is None:
        return [(f"{split}-{row}", "") for row in range(rows)]
    named = []
    for row in ids.reshape(rows, -1).tolist():
        parts = [part.decode("latin1") if isinstance(part, bytes) else str(part) for part in row]
        named.append((" ".join(parts), parts[0].partition("[")[0]))
    return named


def _joined(file: Path, splits: Mapping[str, Entries], entry: str) -> Embedding:
    """One modality of all splits, one after another."""
    shapes = {name: entries[entry].shape for name, entries in splits.items()}
    if len({shape[2] for shape in shapes.values()}) > 1:
        raise DataError(f"{entry} of {file.name} must have one width in all splits, got {shapes}.")
    length = max(shape[1] for shape in shapes.values())
    rows = sum(shape[0] for shape in shapes.values())
    values, mask = room((rows, length, shapes["train"][2])), np.zeros((rows, length), dtype=np.bool_)
    for at, part in _parts(splits, entry):
        clean = np.where(np.isfinite(part), part, 0)
        values[at : at + len(part), : part.shape[1]] = clean
        mask[at : at + len(part), : part.shape[1]] = _between((part != 0).any(-1))
    return Embedding(values=values, mask=mask)


def _parts(splits: Mapping[str, Entries], entry: str) -> Iterator[tuple[int, NDArray[Any]]]:
    """Some rows at a time, and where they begin, so that copies stay small."""
    at = 0
    for entries in splits.values():
        for start in range(0, len(entries[entry]), _ROWS_AT_ONCE):
            part = entries[entry][start : start + _ROWS_AT_ONCE]
            yield at, part
            at += len(part)


def _between(there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """From the first True of a row to its last, both included; nothing where there is none."""
    begun = np.logical_or.accumulate(there, axis=1)
    to_come = np.logical_or.accumulate(there[:, ::-1], axis=1)[:, ::-1]
    both: NDArray[np.bool_] = begun & to_come
    return both
