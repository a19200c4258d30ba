"""JSON lines and Parquet: columns whose cells may be lists or files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.cells import Cells, from_objects
from fuseloom.data.dataset import Audio, Image, Modality, SetAside
from fuseloom.data.files import file_bytes
from fuseloom.data.ragged import Problems, stacked
from fuseloom.data.source import Source, check_columns
from fuseloom.errors import DataError, MissingExtraError

__all__ = ["json_object", "read_json_lines", "read_parquet", "records_source"]

_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_RECORDINGS = (b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"FORM")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_json_lines(path: Path) -> Source:
    """Read a file with a JSON object per line; a line that is none is set aside.

    A list of numbers is a vector, a list of such lists a sequence; all others are as cells of a table.

    Raises:
        DataError: no line can be read, or a column mixes kinds.
    """
    rows: list[dict[str, Any]] = []
    places: list[str] = []
    set_aside: list[SetAside] = []
    ids: list[str] = []
    content = file_bytes(path)
    if content.startswith(_UTF_16):
        raise DataError(f"{path.name} must be text in UTF-8, got UTF-16. Save it again as UTF-8.")
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        place = f"{path.name}:{number}"
        try:
            rows.append(json_object(line))
        except DataError as error:
            set_aside.append(SetAside(where=place, reason=str(error)))
            continue
        places.append(place)
        ids.append(str(len(rows) + len(set_aside) - 1))
    if not rows:
        found = f"none that can be read; {set_aside[0].where}: {set_aside[0].reason}" if set_aside else "none"
        raise DataError(f"{path.name} must have a JSON object per line, got {found}.")
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    return records_source(
        path.name, columns, ids=ids, places=places, root=path.parent, set_aside=tuple(set_aside)
    )


def read_parquet(path: Path) -> Source:
    """Read a Parquet file; lists of numbers are vectors, and bytes of pictures or recordings are such.

    Raises:
        DataError: the file is damaged, has no row or names a column twice.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError(
            "Reading Parquet needs pyarrow. Install it with: pip install 'fuseloom[workbench]'"
        ) from None
    try:
        with path.open("rb") as file:
            table = parquet.ParquetFile(file).read()
        names = list(table.column_names)
        columns = {name: _cells_of(table.column(place)) for place, name in enumerate(names)}
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).rstrip(".")
        raise DataError(f"{path.name} must be a whole Parquet file, got: {reason}.") from None
    check_columns(names, owner=path.name)
    if table.num_rows == 0:
        raise DataError(f"{path.name} must have at least one row, got none.")
    places = [f"{path.name} row {row}" for row in range(table.num_rows)]
    ids = [str(row) for row in range(table.num_rows)]
    return records_source(path.name, columns, ids=ids, places=places, root=path.parent)


def records_source(
    name: str,
    columns: Mapping[str, Sequence[Any]],
    *,
    ids: Sequence[str],
    places: Sequence[str],
    root: Path,
    set_aside: tuple[SetAside, ...] = (),
) -> Source:
    """A source of columns whose cells may be scalars, lists of numbers, or bytes of files.

    A column that is none of these can't be used, which is an error only where it is asked for; a cell unlike
    the others is a problem of its row.
    """
    cells: dict[str, Cells] = {}
    arrays: dict[str, Modality] = {}
    problems: dict[str, Problems] = {column: {} for column in columns}
    unusable: dict[str, str] = {}
    for column, values in columns.items():
        try:
            found = _modality(column, values, problems[column])
            if found is not None:
                arrays[column] = found
            else:
                cells[column] = _scalars(column, values, problems[column])
        except DataError as error:
            unusable[column] = str(error).rstrip(".")
    return Source(
        name=name,
        source_format="table",
        ids=ids,
        places=places,
        columns=cells,
        arrays=arrays,
        root=root,
        set_aside=set_aside,
        problems=problems,
        unusable=unusable,
    )


def json_object(text: bytes) -> dict[str, Any]:
    """The object that JSON in UTF-8 is.

    Raises:
        DataError: it is none, or names an entry twice.
    """
    try:
        found = json.loads(text.decode("utf-8-sig"), object_pairs_hook=_once)
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON in UTF-8: {error}") from None
    if not isinstance(found, dict):
        raise DataError(f"must be a JSON object, got {type(found).__name__}")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of the pairs, of which JSON itself would keep the last of each name."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise DataError(f"entry {next(n for n in names if names.count(n) > 1)!r} stands more than once")
    return found


def _cells_of(column: Any) -> list[Any]:
    """Cells of a column of Parquet as Python has them, lists as arrays."""
    from pyarrow import types

    kind = column.type
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return list(column.to_numpy()) if lists else column.to_pylist()


def _modality(name: str, values: Sequence[Any], problems: Problems) -> Modality | None:
    """What cells of several values are; None for a column of scalars."""
    opened = [_bytes_of(value) for value in values]
    there = [value for value in opened if value is not None]
    if there and all(isinstance(value, bytes) for value in there):
        return _files(name, opened)
    if 2 * sum(isinstance(value, list | np.ndarray) for value in there) <= len(there):
        return None
    arrays: list[NDArray[Any] | None] = []
    for row, value in enumerate(opened):
        try:
            arrays.append(None if value is None else _numbers(value))
        except DataError as error:
            arrays.append(None)
            problems[row] = f"{name}: {error}"
    if 2 * len(problems) > len(there):
        raise DataError(
            f"{next(iter(problems.values()))}. Join the words of a list to one text, or leave the column out"
        )
    return stacked(name, arrays, problems)


def _scalars(name: str, values: Sequence[Any], problems: Problems) -> Cells:
    """Cells of one value each; a few that are lists or objects are problems of their rows."""
    several = [
        row for row, value in enumerate(values) if isinstance(value, list | Mapping | bytes | np.ndarray)
    ]
    if 2 * len(several) < sum(value is not None for value in values):
        problems |= {row: f"{name}: must be one value, got {type(values[row]).__name__}" for row in several}
        values = [None if row in problems else value for row, value in enumerate(values)]
    return from_objects(values, name=name)


def _bytes_of(value: Any) -> Any:
    """The bytes of a file that stands in a cell with its path, as published sets have it."""
    return value["bytes"] if isinstance(value, Mapping) and isinstance(value.get("bytes"), bytes) else value


def _files(name: str, values: Sequence[bytes | None]) -> Image | Audio:
    items = np.empty(len(values), dtype=object)
    items[:] = values
    start = next((value[:12] for value in values if value), b"")
    if start.startswith(_PICTURES) or (start[:4] == b"RIFF" and start[8:] == b"WEBP"):
        return Image(items=items)
    if start.startswith(_RECORDINGS) or (start[:4] == b"RIFF" and start[8:] == b"WAVE"):
        return Audio(items=items)
    raise DataError(f"{name!r} must hold pictures or recordings, got bytes of another format.")


def _numbers(value: Any) -> NDArray[np.float64]:
    """A vector, or sequence of vectors of one length."""
    try:
        # Parquet's lists of lists are arrays of arrays.
        rows = [np.asarray(item) for item in value] if _is_nested(value) else value
        array = np.asarray(rows)
        if array.dtype.kind not in "biuf":
            raise TypeError
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        shown = repr(value.tolist() if isinstance(value, np.ndarray) else value)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        raise DataError(f"must be numbers or lists of numbers of one length, got {shown}") from None


def _is_nested(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.object_
