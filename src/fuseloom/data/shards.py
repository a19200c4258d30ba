"""WebDataset shards: tar files whose members of one name are the parts of one row."""

import io
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Modality, SetAside
from fuseloom.data.media import ArchivePart, is_audio_name, is_image_name
from fuseloom.data.ragged import Problems
from fuseloom.data.records import json_object, records_source
from fuseloom.data.source import Source
from fuseloom.data.values import as_modality
from fuseloom.errors import DataError

__all__ = ["is_shards", "read_shards"]

_NUMBERED = re.compile(r"\{(\d+)\.\.(\d+)\}")
_ITEMS = (ArchivePart, np.ndarray)
_TEXTS = {"txt": "text", "text": "text", "cls": "cls", "id": "id", "split": "split"}


@dataclass
class _Row:
    """What the members of one name say, and why it cannot be used."""

    key: str
    place: str
    values: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


def is_shards(path: Path) -> bool:
    """Whether a path is a tar file, a pattern of them, or a folder that holds some and no arrays."""
    if path.is_dir():
        return any(path.glob("*.tar")) and not any(path.glob("*.npy"))
    return path.suffix == ".tar"


def read_shards(path: Path) -> Source:
    """Read the shards of a folder, one of them, or ``name-{000..012}.tar``.

    The members ``0017.jpg``, ``0017.txt``, ``0017.cls`` and ``0017.json`` are one row: a picture, a text, a
    class and more cells; recordings and ``.npy`` arrays are modalities too. Nothing is extracted: pictures
    and recordings stay in the tar file until they are needed. A row with a member that cannot be read is set
    aside, so is one with a link, which is not followed.

    Raises:
        DataError: no shard, one that is damaged or compressed, or without members.
    """
    unknown: Counter[str] = Counter()
    rows = [row for shard in _shards(path) for row in _rows(shard, unknown)]
    kept = [row for row in rows if row.problem is None]
    if not kept:
        found = f"none that can be used, the first {rows[0].place}: {rows[0].problem}" if rows else "none"
        raise DataError(f"{path.name} must hold shards with members, got {found}.")
    names = list(dict.fromkeys(name for row in kept for name in row.values))
    columns = {name: [row.values.get(name) for row in kept] for name in names}
    items = {n for n, column in columns.items() if any(isinstance(v, _ITEMS) for v in column)}
    source = records_source(
        path.name,
        {name: column for name, column in columns.items() if name not in items},
        ids=_ids(kept),
        places=[row.place for row in kept],
        root=path if path.is_dir() else path.parent,
        set_aside=tuple(SetAside(where=row.place, reason=row.problem) for row in rows if row.problem),
    )
    problems: dict[str, Problems] = {name: {} for name in items}
    arrays: dict[str, Modality] = {n: as_modality(n, columns[n], problems[n]) for n in names if n in items}
    classes = "cls" in source.columns
    return replace(
        source,
        arrays={**source.arrays, **arrays},
        problems={**source.problems, **problems},
        unusable={**source.unusable, **{f"*.{end}": "members of unknown kind" for end in unknown}},
        target="cls" if classes else None,
        target_kind="category" if classes else None,
    )


def _shards(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(path.glob("*.tar"))
        return
    found = _NUMBERED.search(path.name)
    if found is None:
        yield path
        return
    first, last = found.groups()
    for number in range(int(first), int(last) + 1):
        yield path.with_name(_NUMBERED.sub(str(number).zfill(len(first)), path.name))


def _rows(shard: Path, unknown: Counter[str]) -> list[_Row]:
    """The rows of one shard, in the order of their first members."""
    rows: dict[str, _Row] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                folder, slash, base = member.name.rpartition("/")
                key, dot, end = base.partition(".")
                if member.isdir() or not (key and dot) or not _is_known(base):
                    unknown.update([] if member.isdir() else [end or base])
                    continue
                name = f"{folder}{slash}{key}"
                row = rows.setdefault(name, _Row(key=name, place=f"{shard.name}:{name}"))
                _take(row, end.lower(), member, shard)
    except FileNotFoundError:
        raise DataError(f"source must be shards that are there, got {shard.name}. No such file.") from None
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(
            f"{shard.name} must be a whole tar file that is not compressed, got: {error}. Unpack it and pack "
            "it again with: tar -cf"
        ) from None
    return list(rows.values())


def _take(row: _Row, end: str, member: tarfile.TarInfo, shard: Path) -> None:
    """Add what a member says to its row, or why it cannot be read."""
    try:
        if not member.isfile() or member.issparse():
            raise DataError("must be a plain file, got a link or a special file, which is not followed")
        added = _values(end, ArchivePart(shard, member.name, member.offset_data, member.size))
        if twice := row.values.keys() & added.keys():
            raise DataError(f"must say {min(twice)!r} once, got it from another member too")
        row.values |= added
    except DataError as error:
        base = member.name.rpartition("/")[2]
        row.problem = row.problem if row.problem is not None else f"{base}: {error}"


def _is_known(base: str) -> bool:
    last = base.lower().rpartition(".")[2]
    return is_image_name(base) or is_audio_name(base) or last in _TEXTS or last in ("npy", "json")


def _values(end: str, part: ArchivePart) -> dict[str, Any]:
    """What a member adds to its row, by the ending of its name."""
    named, _, last = end.rpartition(".")
    if last in ("npy", "json") or last in _TEXTS:
        return _content(named, last, part.read())
    return {named or ("image" if is_image_name(part.name) else "audio"): part}


def _content(named: str, last: str, content: bytes) -> dict[str, Any]:
    if last == "npy":
        return {named or "array": _array(content)}
    if last == "json":
        return json_object(content)
    try:
        return {named or _TEXTS[last]: content.decode("utf-8-sig").strip()}
    except UnicodeDecodeError as error:
        raise DataError(f"must be text in UTF-8, got byte {content[error.start]:#04x}") from None


def _array(content: bytes) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"must be a plain array, got one that cannot be loaded: {error}") from None
    return array


def _ids(rows: list[_Row]) -> list[str]:
    """Keys of the rows, with their shard where another shard has the same."""
    counts = Counter(row.key for row in rows)
    return [row.key if counts[row.key] == 1 else row.place for row in rows]
