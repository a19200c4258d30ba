"""The two doors: data to learn from, and new rows to be read the same way."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from torch import Tensor

from fuseloom.data.arrays import read_archive, read_folder, read_mapping
from fuseloom.data.assembling import labelled_rows, unlabelled_rows
from fuseloom.data.dataset import Dataset, Schema
from fuseloom.data.frames import is_frame, read_frame
from fuseloom.data.groups import divided_notes
from fuseloom.data.media import reason_of
from fuseloom.data.named import EMBEDDED, list_sets, read_named, recognised
from fuseloom.data.options import ReadOptions
from fuseloom.data.planning import plan
from fuseloom.data.records import read_json_lines, read_parquet
from fuseloom.data.shards import is_shards, read_shards
from fuseloom.data.source import Source, check_lengths
from fuseloom.data.tables import read_table
from fuseloom.data.tagged import with_tags
from fuseloom.data.values import as_column
from fuseloom.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load", "read_rows"]

_INFERRED = ReadOptions()
_GIVEN = "target"
_REFUSED = {
    ".npy": "one array: pass its folder, which holds one array per modality and the labels",
    **dict.fromkeys((".pkl", ".pickle", ".pt", ".pth", ".joblib"), "a pickle, which is never loaded"),
    **dict.fromkeys((".xlsx", ".xls", ".feather"), "another format: read it with pandas first"),
    ".json": "one JSON value: write an object per line to a .jsonl file, or read it with pandas first",
    **dict.fromkeys((".zip", ".tgz", ".gz", ".bz2", ".xz"), "a compressed archive: unpack it first"),
}
_READERS: Mapping[str, Callable[[Path], Source]] = {
    **dict.fromkeys((".jsonl", ".ndjson"), read_json_lines),
    **dict.fromkeys((".parquet", ".pq"), read_parquet),
}
"""Ending of a file -> what reads it; any other is taken for a table of text."""


def load(
    source: "str | os.PathLike[str] | Mapping[str, Any] | pd.DataFrame | Source | None" = None,
    options: ReadOptions = _INFERRED,
    *,
    target: str | NDArray[Any] | Tensor | Sequence[object] | None = None,
) -> Dataset:
    """Read data of two or more modalities with their target.

    Args:
        source: A CSV, TSV, JSONL, Parquet or ``.npz`` file, a folder of arrays or of a published set,
            WebDataset shards, a mapping of arrays and lists, a data frame, the name of an embedded set (by
            default the digits), or what a reader of a published set gave.
        options: What is not to be inferred.
        target: Name of the target, or its values where the source is a mapping or a data frame.

    Raises:
        DataError: the source cannot be read, or has nothing to predict from, or no target.
        ModalityError: a modality's name cannot be used.
        UnknownNameError: neither a file nor a data set has the name.

    Example:
        >>> rows = load({"text": [[0.1, 2.0], [3.0, 4.0]], "audio": [[5.0], [6.0]]}, target=["no", "yes"])
        >>> sorted(rows.modalities), list(rows.target)
        (['audio', 'text'], ['no', 'yes'])
    """
    if isinstance(target, str):
        options, target = replace(options, target=target), None
    opened = _opened(source, target=options.target)
    if target is not None:
        opened = _with_target(opened, target, in_memory=not isinstance(source, str | os.PathLike | None))
        options = replace(options, target=_GIVEN)
    schema, notes = plan(opened, options)
    rows = _with_tags(opened, labelled_rows(opened, schema, notes=notes))
    notes = [*rows.notes, *opened.notes, *divided_notes(rows)]
    return replace(rows, missing=opened.missing, notes=tuple(notes))


def read_rows(
    source: "str | os.PathLike[str] | Mapping[str, Any] | pd.DataFrame | Source | None", schema: Schema
) -> Dataset:
    """Read new rows the way a schema says, for prediction.

    The target may be absent. So may a modality: it is then missing in every row. Columns that the schema does
    not know are ignored. An embedding may also stand in a table, in columns ``top_0``, ``top_1``, and so on.

    Raises:
        DataError: the source cannot be read, or lacks all modalities or a part of one.
    """
    opened = _opened(source, target=schema.target)
    return _with_tags(opened, unlabelled_rows(opened, schema))


def _opened(source: object, *, target: str | None) -> Source:
    if source is None or isinstance(source, Source):
        return read_named("digits") if source is None else source
    if is_frame(source):
        return read_frame(source)
    if isinstance(source, Mapping):
        return read_mapping(source, target=target)
    if isinstance(source, str | os.PathLike):
        return _from_path(os.fspath(source), target=target)
    raise DataError(
        f"source must be a path, a name, a mapping or a data frame, got {type(source).__name__}. Known "
        f"names: {', '.join(list_sets())}."
    )


def _from_path(text: str, *, target: str | None) -> Source:
    path = Path(text)
    if text in EMBEDDED:
        return read_named(text)
    try:
        if is_shards(path):
            return read_shards(path)
        published = recognised(path)
        if published is not None:
            return published.read(path)
        return read_folder(path, target=target) if path.is_dir() else _from_file(path, text, target=target)
    except OSError as error:
        raise DataError(
            f"source must be a file or folder that can be read, got {path.name!r}: {reason_of(error)}."
        ) from None


def _from_file(path: Path, text: str, *, target: str | None) -> Source:
    end = path.suffix.lower()
    if end in _REFUSED:
        raise DataError(f"{path.name} must be a file of rows or a folder, got {_REFUSED[end]}.")
    if path.is_file():
        return read_archive(path, target=target) if end == ".npz" else _READERS.get(end, read_table)(path)
    if path.suffix or len(path.parts) > 1:
        raise DataError(
            f"source must be a file or folder that is there, got {text!r}. No such file or folder."
        )
    return read_named(text)


def _with_tags(source: Source, rows: Dataset) -> Dataset:
    return with_tags(rows) if source.tagged and rows.schema.target == source.target else rows


def _with_target(source: Source, values: object, *, in_memory: bool) -> Source:
    if not in_memory:
        raise DataError("target must be a name where the source is a file or a data set, got values.")
    if _GIVEN in source or source.target is not None:
        entry = _GIVEN if source.target is None else source.target
        raise DataError(f"target must be given once, got values and an entry {entry!r} of the source.")
    cells = as_column(_GIVEN, values)
    check_lengths({source.name: len(source), _GIVEN: len(cells)}, owner="The source with its target")
    return replace(source, labels={**source.labels, _GIVEN: cells})
