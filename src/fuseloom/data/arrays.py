"""Arrays of the user's own: a mapping of them in memory, an archive, or a folder with a file per modality."""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.cells import Cells, as_numbers, as_strings
from fuseloom.data.files import load_array
from fuseloom.data.kinds import is_identifier
from fuseloom.data.ragged import Problems
from fuseloom.data.source import Source, check_lengths
from fuseloom.data.tables import read_table
from fuseloom.data.values import as_array, as_column, as_modality, is_column
from fuseloom.errors import DataError

__all__ = ["read_archive", "read_folder", "read_mapping"]

_TARGETS = ("target", "labels")


def read_mapping(source: Mapping[str, Any], *, target: str | None) -> Source:
    """Take entries of one axis as columns, and what has several values per row as modalities.

    ``<name>.mask`` says which rows or steps of the entry ``<name>`` are real, ``<name>.time`` when its steps
    were.

    Args:
        source: Name -> array, tensor or list; equally long.
        target: The entry to predict; by default the one called ``target`` or ``labels``.

    Raises:
        DataError: entries of different lengths, of other shapes or types.
    """
    if not source:
        raise DataError("The mapping must have an entry per modality, got none.")
    values = {str(name): as_array(str(name), value) for name, value in source.items()}
    found = _source("arrays", values, owner="The mapping", place="row")
    return _with_named_target(found, target, owner="The mapping")


def read_archive(path: Path, *, target: str | None) -> Source:
    """Read a ``.npz`` file, an entry per modality, named as in `read_mapping`.

    Raises:
        DataError: no archive of plain arrays, or arrays of different lengths.
    """
    found = _source(path.name, _load_archive(path), owner=path.name, place=f"{path.name} row")
    return _with_named_target(found, target, owner=path.name)


def read_folder(folder: Path, *, target: str | None) -> Source:
    """Read a file per modality, and what describes the rows.

    A modality is ``<modality>.npy``, ``<modality>.npz`` (entries ``values``, ``mask``, ``time``) or
    ``<modality>.csv`` (a column of numbers per feature, with a header). Rows are described by ``labels.npy``,
    ``target.npy`` or the columns of ``labels.csv``, and optionally ``ids.npy``, ``split.npy``,
    ``<modality>.mask.npy`` (True = real) and ``<modality>.time.npy``.

    Args:
        folder: Where they lie.
        target: What to predict; by default the only one that describes the rows.

    Raises:
        DataError: no array in the folder, one that is not a plain array of numbers or strings, or arrays of
            different lengths.
    """
    name = folder.resolve().name
    arrays = _files(folder)
    if not arrays.keys() - {*_TARGETS, "ids", "split"}:
        raise DataError(
            f"{name} must hold an array <modality>.npy per modality, or the files of a published set, "
            f"got {_listed(folder)}."
        )
    described = {n: arrays.pop(n) for n in (*_TARGETS, "ids", "split") if n in arrays}
    ids = described.pop("ids", None)
    labels = _labels_csv(folder / "labels.csv")
    if twice := sorted(labels.keys() & described.keys()):
        raise DataError(
            f"{name} must say each label once, got {twice[0]}.npy and a column {twice[0]!r} of labels.csv."
        )
    beside = {"ids": ids, **described, "labels.csv": next(iter(labels.values()), None)}
    found = _source(name, arrays, owner=name, place=f"{name} row", beside=beside)
    labels |= {n: as_column(n, value) for n, value in described.items()}
    return replace(
        found,
        ids=_ids(ids, len(found)),
        labels=labels,
        target=target if target is not None else _only_target(labels, owner=name),
        split_column="split" if "split" in described else None,
    )


def _files(folder: Path) -> dict[str, NDArray[Any]]:
    """The array, or parts of an array, of each file."""
    arrays: dict[str, NDArray[Any]] = {}
    owners: dict[str, str] = {}
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".npy", ".npz", ".csv")):
        if path.name == "labels.csv":
            continue
        for name, array in _parts_of(path):
            if name in arrays:
                raise DataError(
                    f"{folder.resolve().name} must hold every array once, got {name!r} in {owners[name]} and "
                    f"{path.name}. Remove one."
                )
            arrays[name], owners[name] = array, path.name
    return arrays


def _parts_of(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    if path.suffix != ".npz":
        yield path.stem, _load(path) if path.suffix == ".npy" else _matrix(path)
        return
    for name, part in _load_archive(path).items():
        whole = name in ("values", "arr_0", path.stem)
        yield path.stem if whole else f"{path.stem}.{name}", part


def _load_archive(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a ``.npz`` file.

    Raises:
        DataError: another format, or an entry that is a pickle.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error, AttributeError, TypeError) as error:
        raise DataError(
            f"{path.name} must be an archive of plain arrays written by numpy.savez, got one that cannot be "
            f"loaded: {str(error).rstrip('.')}. Arrays of Python objects are pickles and never loaded."
        ) from None


def _source(
    name: str,
    values: Mapping[str, NDArray[Any] | list[Any]],
    *,
    owner: str,
    place: str,
    beside: Mapping[str, Any] | None = None,
) -> Source:
    """Columns and modalities of named values; what stands ``beside`` them must have as many rows."""
    entries = dict(values)
    masks, times = _taken(entries, ".mask"), _taken(entries, ".time")
    problems: dict[str, Problems] = {n: {} for n in entries}
    others = {n: value for n, value in (beside or {}).items() if value is not None}
    rows = check_lengths({n: _rows(n, value) for n, value in {**values, **others}.items()}, owner=owner)
    for kind, parts in (("mask", masks), ("time", times)):
        if unknown := sorted(parts.keys() - entries.keys()):
            raise DataError(f"{unknown[0]}.{kind} must stand beside {unknown[0]!r}, got no such entry.")
    columns = {n: as_column(n, v) for n, v in entries.items() if is_column(v) and n not in masks}
    arrays = {
        n: as_modality(n, value, problems[n], mask=masks.get(n), time=times.get(n))
        for n, value in entries.items()
        if n not in columns
    }
    return Source(
        name=name,
        source_format="arrays",
        ids=[str(row) for row in range(rows)],
        places=[f"{place} {row}" for row in range(rows)],
        columns=columns,
        arrays=arrays,
        problems=problems,
    )


def _taken(entries: dict[str, Any], end: str) -> dict[str, Any]:
    """Take the entries of that ending out, under the name before it."""
    return {n.removesuffix(end): entries.pop(n) for n in list(entries) if n.endswith(end)}


def _matrix(path: Path) -> NDArray[np.float32]:
    """The numbers of a table, a row each."""
    table = read_table(path)
    if table.set_aside:
        first = table.set_aside[0]
        raise DataError(f"{path.name} must have readable lines only, got {first.where}: {first.reason}.")
    numbers = []
    for column, cells in table.columns.items():
        values, unreadable = as_numbers(cells, decimal_comma=table.decimal_comma)
        if unreadable.any():
            raise DataError(
                f"{path.name} must hold numbers only, got {cells[unreadable.argmax()]!r} in column "
                f"{column!r}. Text and categories are read from one CSV file, see --text and --tabular."
            )
        numbers.append(values)
    return np.stack(numbers, axis=1).astype(np.float32)


def _load(path: Path) -> NDArray[Any]:
    try:
        return load_array(path)
    except DataError as error:
        raise DataError(f"{path.name} {error}.") from None


def _rows(name: str, value: NDArray[Any] | list[Any]) -> int:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        raise DataError(f"{name}.npy must have a value per row, got a single one.")
    return len(value)


def _labels_csv(path: Path) -> dict[str, Cells]:
    if not path.is_file():
        return {}
    table = read_table(path)
    if table.set_aside:
        first = table.set_aside[0]
        raise DataError(
            "labels.csv must have one readable line per row of the arrays, got "
            f"{first.where}: {first.reason}."
        )
    return dict(table.columns)


def _with_named_target(source: Source, target: str | None, *, owner: str) -> Source:
    named = target if target is not None else _named_target(source.columns, owner=owner)
    return replace(source, target=named)


def _named_target(columns: Iterable[str], *, owner: str) -> str | None:
    named = [name for name in columns if name in _TARGETS]
    if len(named) > 1:
        raise DataError(f"{owner} must say which is the target, got {named}. Name it with target (--target).")
    return named[0] if named else None


def _only_target(labels: Mapping[str, Cells], *, owner: str) -> str | None:
    named = _named_target(labels, owner=owner)
    others = [n for n, cells in labels.items() if n != "split" and not is_identifier(n, cells)]
    return others[0] if named is None and len(others) == 1 else named


def _ids(ids: NDArray[Any] | list[Any] | None, rows: int) -> list[str]:
    numbers = [str(row) for row in range(rows)]
    if ids is None:
        return numbers
    named = as_strings(as_column("ids", ids))
    return [number if name is None else str(name) for name, number in zip(named, numbers, strict=True)]


def _listed(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return "an empty folder"
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
