"""A source read the way a schema says: the modalities of its usable rows."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.cells import Cells, as_numbers, as_strings, is_empty, is_missing
from fuseloom.data.dataset import (
    PIXEL_TARGETS,
    Audio,
    Dataset,
    Embedding,
    Files,
    Image,
    Map,
    Modality,
    ModalitySpec,
    Schema,
    Series,
    SetAside,
    Table,
    Text,
)
from fuseloom.data.files import array_files, checked, items_of, unreadable
from fuseloom.data.kinds import infer_kind
from fuseloom.data.label_maps import LabelMap
from fuseloom.data.planning import SPLIT_WORDS
from fuseloom.data.ragged import Problems
from fuseloom.data.source import Source
from fuseloom.data.target_pictures import TargetPicture
from fuseloom.errors import DataError, did_you_mean

__all__ = ["labelled_rows", "unlabelled_rows"]

_PER_ITEM: Mapping[str, Callable[[NDArray[np.object_]], Modality]] = {
    "text": lambda values: Text(values=values),
    "image": lambda items: Image(items=items),
    "map": lambda items: Map(items=items),
    "audio": lambda items: Audio(items=items),
}


def labelled_rows(source: Source, schema: Schema, *, notes: list[str]) -> Dataset:
    """Rows to learn from: those without a readable target or split are set aside.

    Raises:
        DataError: no row can be used.
    """
    problems: Problems = {}
    modalities = {name: _modality(source, name, s, problems) for name, s in schema.modalities.items()}
    roles = (*schema.targets, schema.split_column, schema.group_column, *schema.fold_columns)
    _add_found(source, [role for role in roles if role is not None], problems)
    target = _target(source, schema, problems)
    split = None if schema.split_column is None else _split(source, schema.split_column, problems)
    folds = [_split(source, column, problems) for column in schema.fold_columns]
    groups = None if schema.group_column is None else _groups(source, schema.group_column, problems)
    rows = _usable(source, schema, problems, modalities=modalities, target=target, notes=notes)
    kept = [row for row in range(len(source)) if row not in problems]
    return replace(
        rows,
        split=None if split is None else split[kept],
        folds=tuple(fold[kept] for fold in folds),
        groups=None if groups is None else groups[kept],
        labels={name: cells[kept] for name, cells in source.labels.items()},
        grouping=source.grouping,
    )


def unlabelled_rows(source: Source, schema: Schema) -> Dataset:
    """Rows to predict: target and modalities may be absent, and a target that is there may be unreadable.

    So may the split: a row is kept whatever it says.

    Raises:
        DataError: no modality is there, or only a part of the columns of one.
    """
    problems: Problems = {}
    absent = [name for name, spec in schema.modalities.items() if not _present_columns(source, name, spec)]
    if len(absent) == len(schema.modalities):
        expected = [c for spec in schema.modalities.values() for c in spec.columns]
        names = [*source.columns, *source.arrays]
        raise DataError(
            f"{source.name} must have a modality of {sorted(schema.modalities)}, got none of them. Expected "
            f"columns or arrays such as {(expected or [*schema.modalities])[:5]}, found {names[:10]}."
        )
    modalities = {
        name: _absent(spec, len(source)) if name in absent else _modality(source, name, spec, problems)
        for name, spec in schema.modalities.items()
    }
    has_target = bool(schema.targets) and all(
        name in source or name in source.arrays for name in schema.targets
    )
    target = _target(source, schema, {}) if has_target else None
    notes = [f"{name}: missing in every row" for name in absent]
    rows = _usable(source, schema, problems, modalities=modalities, target=target, notes=notes)
    kept = [row for row in range(len(source)) if row not in problems]
    return replace(
        rows,
        split=_known_split(source, schema.split_column, without=problems),
        labels={name: cells[kept] for name, cells in {**source.columns, **source.labels}.items()},
    )


def _usable(
    source: Source,
    schema: Schema,
    problems: Problems,
    *,
    modalities: dict[str, Modality],
    target: NDArray[np.float64] | NDArray[np.object_] | None,
    notes: list[str],
) -> Dataset:
    rows = np.array([row for row in range(len(source)) if row not in problems], dtype=np.intp)
    aside = [SetAside(where=source.places[row], reason=problems[row]) for row in sorted(problems)]
    if not len(rows):
        raise DataError(
            f"{source.name} must have at least one usable row, got {len(aside)} set aside, the first "
            f"{aside[0].where}: {aside[0].reason}."
        )
    if problems:
        modalities = {name: modality.take(rows) for name, modality in modalities.items()}
    ids = _ids(source, schema)
    return Dataset(
        name=source.name,
        modalities=modalities,
        target=None if target is None else target[rows],
        ids=[ids[row] for row in rows],
        split=None,
        schema=schema,
        set_aside=(*source.set_aside, *aside),
        notes=tuple(notes),
    )


def _modality(source: Source, name: str, spec: ModalitySpec, problems: Problems) -> Modality:
    present = _present_columns(source, name, spec)
    _add_found(source, present, problems)
    if len(present) == 1 and present[0] in source.arrays:
        return _array(source, present[0], spec, problems)
    if not spec.columns:
        return _of_column(source, name, spec, present, problems)
    if missing := [column for column in spec.columns if column not in present]:
        raise DataError(
            f"{source.name} must have all columns of modality {name!r} or none, got no {missing[0]!r}."
            f"{did_you_mean(missing[0], source.columns)}"
        )
    if spec.kind != "table":
        return _of_column(source, name, spec, present, problems)
    numbers = [column for column, kind in spec.columns.items() if kind == "number"]
    return Table(
        numbers={column: _numbers(source, column, problems) for column in numbers},
        categories={
            c: as_strings(source.columns[c]) for c, kind in spec.columns.items() if kind == "category"
        },
    )


def _add_found(source: Source, columns: Iterable[str], problems: Problems) -> None:
    """Take over what the reader found wrong with the columns that are used."""
    for column in columns:
        for row, reason in source.problems.get(column, {}).items():
            problems.setdefault(row, reason)


def _embedding(source: Source, columns: list[str], problems: Problems) -> Embedding:
    """Vectors that stand in a table, a column per feature."""
    features = [_numbers(source, column, problems) for column in columns]
    with np.errstate(over="ignore"):
        values = np.stack(features, axis=1).astype(np.float32)
    return Embedding(values=values, mask=np.asarray(~np.isnan(values).all(axis=-1)))


def _numbered(columns: Mapping[str, Cells], name: str) -> list[str]:
    """The column called as the embedding, or those called ``name_0``, ``name_1``, and so on."""
    if name in columns:
        return [name]
    numbered: list[str] = []
    while (column := f"{name}_{len(numbered)}") in columns:
        numbered.append(column)
    return numbered


def _of_column(
    source: Source, name: str, spec: ModalitySpec, columns: list[str], problems: Problems
) -> Modality:
    """A modality of one column: text, or files; or an embedding whose features stand in columns."""
    cells = source.columns[columns[0]]
    if spec.kind == "text":
        return Text(values=as_strings(cells))
    if spec.kind == "embedding" and (len(columns) > 1 or not _holds_files(source, columns[0], spec)):
        return _embedding(source, columns, problems)
    items = items_of(cells, source.root)
    if spec.kind in ("embedding", "series"):
        return _as_kind(name, array_files(items, name, problems), spec)
    modality = _PER_ITEM[spec.kind](items)
    assert isinstance(modality, Files)
    return checked(modality, name, problems)


def _holds_files(source: Source, column: str, spec: ModalitySpec) -> bool:
    return column in spec.columns or infer_kind(source.columns[column]) == "array"


def _array(source: Source, name: str, spec: ModalitySpec, problems: Problems) -> Modality:
    """A modality that has several values per row already."""
    array = source.arrays[name]
    if isinstance(array, Image) and spec.kind == "map":
        array = Map(items=array.items)
    if isinstance(array, Files):
        return checked(array, name, problems)
    return _as_kind(name, array, spec)


def _as_kind(name: str, array: Modality, spec: ModalitySpec) -> Modality:
    """Steps in time where they are to be that, else the array as it is."""
    if spec.kind != "series" or not isinstance(array, Embedding):
        return array
    if array.values.ndim != 3:
        raise DataError(f"{name!r} must be steps [N, T, C], got shape {array.values.shape}.")
    return Series(values=array.values, mask=array.mask)


def _present_columns(source: Source, name: str, spec: ModalitySpec) -> list[str]:
    """The array, or the columns, that a modality is read from."""
    if spec.kind != "table" and (found := [n for n in (*spec.columns, name) if n in source.arrays]):
        return found[:1]
    if spec.columns:
        return [column for column in spec.columns if column in source.columns]
    return _numbered(source.columns, name)


def _absent(spec: ModalitySpec, rows: int) -> Modality:
    nothing = np.full(rows, None, dtype=object)
    if spec.kind == "embedding":
        return Embedding(values=np.zeros((rows, 0), dtype=np.float32), mask=np.zeros(rows, dtype=np.bool_))
    if spec.kind == "series":
        return Series(
            values=np.zeros((rows, 1, 0), dtype=np.float32), mask=np.zeros((rows, 1), dtype=np.bool_)
        )
    if spec.kind in _PER_ITEM:
        return _PER_ITEM[spec.kind](nothing)
    return Table(
        numbers={c: np.full(rows, np.nan) for c, kind in spec.columns.items() if kind == "number"},
        categories={c: nothing for c, kind in spec.columns.items() if kind == "category"},
    )


def _numbers(source: Source, column: str, problems: Problems) -> NDArray[np.float64]:
    cells = source.columns[column]
    numbers, unreadable = as_numbers(cells, decimal_comma=source.decimal_comma)
    for row in np.flatnonzero(unreadable):
        problems.setdefault(int(row), f"column {column!r} must be a finite number, got {_shown(cells[row])}")
    return numbers


def _target(source: Source, schema: Schema, problems: Problems) -> NDArray[np.float64] | NDArray[np.object_]:
    if schema.target_columns:
        return _several_targets(source, schema, problems)
    assert schema.target is not None
    values: NDArray[np.float64] | NDArray[np.object_]
    if schema.target_kind in PIXEL_TARGETS:
        return _of_pixels(source, schema, problems)
    cells = source.column(schema.target, role="target")
    if schema.target_kind == "number":
        values, _ = as_numbers(cells, decimal_comma=source.decimal_comma)
        unknown = np.isnan(values)
    else:
        values, unknown = as_strings(cells), is_missing(cells)
        if schema.target_kind == "classes":
            empty = is_empty(cells)
            values[empty], unknown = "", unknown & ~empty
    for row in np.flatnonzero(unknown):
        problems.setdefault(int(row), f"target {schema.target!r} must be known, got {_shown(cells[row])}")
    return values


def _of_pixels(source: Source, schema: Schema, problems: Problems) -> NDArray[np.object_]:
    """Maps of labels, or pictures, every one of which has been read once."""
    assert schema.target is not None
    array = source.arrays.get(schema.target)
    if isinstance(array, Files):
        items = array.items
    else:
        items = items_of(source.column(schema.target, role="target"), source.root)
    maps = np.full(len(items), None, dtype=object)
    maps[:] = [None if item is None else _target_item(item, schema) for item in items]
    for row, why in enumerate(unreadable(maps, lambda one: one.read())):
        if why is not None or maps[row] is None:
            problems.setdefault(row, f"target {schema.target!r} must be known, got {why or 'no value'}")
    return maps


def _target_item(item: Any, schema: Schema) -> LabelMap | TargetPicture:
    if schema.target_kind == "labels":
        assert schema.label_format is not None
        return LabelMap(item=item, form=schema.label_format)
    return TargetPicture(item=item, form=schema.map_format)


def _several_targets(source: Source, schema: Schema, problems: Problems) -> NDArray[np.float64]:
    """Numbers ``[N, K]``, NaN where one is not known; a row must know one of them."""
    cells = [source.column(name, role="target") for name in schema.target_columns]
    numbers = [as_numbers(column, decimal_comma=source.decimal_comma)[0] for column in cells]
    values = np.stack(numbers, axis=1)
    for row in np.flatnonzero(np.isnan(values).all(axis=1)):
        shown = ", ".join(_shown(column[row]) for column in cells)
        problems.setdefault(int(row), f"one of the targets {schema.target} must be known, got {shown}")
    return values


def _split(source: Source, column: str, problems: Problems) -> NDArray[np.str_]:
    words = as_strings(source.column(column, role="split_column"))
    split = [SPLIT_WORDS.get(str(word).lower(), "") for word in words]
    for row, word in enumerate(words):
        if word is None or word.lower() not in SPLIT_WORDS:
            problems.setdefault(row, f"split must be train, valid or test, got {_shown(words[row])}")
    return np.array(split)


def _known_split(source: Source, column: str | None, *, without: Problems) -> NDArray[np.str_] | None:
    """The split of each row but these, empty where the column says none; none where it never says one."""
    if column is None or column not in source:
        return None
    split = np.delete(_split(source, column, {}), list(without))
    return split if (split != "").any() else None


def _groups(source: Source, column: str, problems: Problems) -> NDArray[np.object_]:
    groups = as_strings(source.column(column, role="group_column"))
    for row in np.flatnonzero(is_missing(groups)):
        problems.setdefault(int(row), f"group {column!r} must be known, got no value")
    return groups


def _ids(source: Source, schema: Schema) -> list[str]:
    if schema.id_column is None or schema.id_column not in source:
        return list(source.ids)
    named = as_strings(source.column(schema.id_column, role="id_column"))
    return [number if name is None else str(name) for name, number in zip(named, source.ids, strict=True)]


def _shown(cell: object) -> str:
    text = "no value" if cell is None or cell == "" else repr(cell) if isinstance(cell, str) else str(cell)
    return text if len(text) <= 60 else f"{text[:57]}..."
