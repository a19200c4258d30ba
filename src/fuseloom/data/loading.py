"""The two doors: data to learn from, and new rows to be read the same way."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from torch import Tensor

from fuseloom.data.arrays import as_column, read_folder, read_mapping
from fuseloom.data.assembling import labelled_rows, unlabelled_rows
from fuseloom.data.dataset import Dataset, Schema
from fuseloom.data.frames import is_frame, read_frame
from fuseloom.data.named import EMBEDDED, list_sets, read_named, recognised
from fuseloom.data.options import ReadOptions
from fuseloom.data.planning import plan
from fuseloom.data.source import Source, check_lengths
from fuseloom.data.tables import read_table
from fuseloom.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load", "read_rows"]

_INFERRED = ReadOptions()
_GIVEN = "target"
_REFUSED = {
    ".npy": "one array: pass its folder, which holds one array per modality and the labels",
    **dict.fromkeys((".pkl", ".pickle", ".pt", ".pth", ".joblib"), "a pickle, which is never loaded"),
    **dict.fromkeys((".parquet", ".xlsx", ".json", ".jsonl"), "another format: read it with pandas first"),
    ".npz": "an archive of arrays: save each as <modality>.npy in a folder",
}


def load(
    source: "str | os.PathLike[str] | Mapping[str, Any] | pd.DataFrame | None" = None,
    options: ReadOptions = _INFERRED,
    *,
    target: str | NDArray[Any] | Tensor | Sequence[object] | None = None,
) -> Dataset:
    """Read data of two or more modalities with their target.

    Args:
        source: A CSV or TSV file, a folder of ``.npy`` arrays or of a published set, a mapping of arrays and
            lists, a data frame, or the name of an embedded set (by default the digits).
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
    return labelled_rows(opened, schema, notes=notes)


def read_rows(
    source: "str | os.PathLike[str] | Mapping[str, Any] | pd.DataFrame | None", schema: Schema
) -> Dataset:
    """Read new rows the way a schema says, for prediction.

    The target may be absent. So may a modality: it is then missing in every row. Columns that the schema does
    not know are ignored. An embedding may also stand in a table, in columns ``top_0``, ``top_1``, and so on.

    Raises:
        DataError: the source cannot be read, or lacks all modalities or a part of one.
    """
    return unlabelled_rows(_opened(source, target=schema.target), schema)


def _opened(source: object, *, target: str | None) -> Source:
    if source is None:
        return read_named("digits")
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
    if text not in EMBEDDED and path.is_dir():
        published = recognised(path)
        return published.read(path) if published is not None else read_folder(path, target=target)
    if path.suffix.lower() in _REFUSED:
        raise DataError(
            f"{path.name} must be a CSV or TSV file or a folder, got {_REFUSED[path.suffix.lower()]}."
        )
    if path.is_file():
        return read_table(path)
    if path.suffix or len(path.parts) > 1:
        raise DataError(
            f"source must be a file or folder that is there, got {text!r}. No such file or folder."
        )
    return read_named(text)


def _with_target(source: Source, values: object, *, in_memory: bool) -> Source:
    if not in_memory:
        raise DataError("target must be a name where the source is a file or a data set, got values.")
    if _GIVEN in source or source.target is not None:
        entry = _GIVEN if source.target is None else source.target
        raise DataError(f"target must be given once, got values and an entry {entry!r} of the source.")
    cells = as_column(_GIVEN, values)
    check_lengths({source.name: len(source), _GIVEN: len(cells)}, owner="The source with its target")
    return replace(source, labels={**source.labels, _GIVEN: cells})
