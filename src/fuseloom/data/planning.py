"""Which columns and arrays become which modalities: what a person said, and what is inferred."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from fuseloom.data.cells import Cells
from fuseloom.data.dataset import ColumnKind, ModalitySpec, Schema
from fuseloom.data.kinds import infer_kind, is_identifier, why_left_out
from fuseloom.data.names import check_name, modality_name, split_group
from fuseloom.data.options import ReadOptions
from fuseloom.data.source import Source
from fuseloom.errors import DataError, did_you_mean

__all__ = ["SPLIT_WORDS", "plan"]

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""How sources spell the three splits -> how we do."""

_LISTED = 8


@dataclass(frozen=True)
class _Planned:
    name: str
    spec: ModalitySpec
    origin: str
    """What the name was made from, for messages."""


def plan(source: Source, options: ReadOptions) -> tuple[Schema, list[str]]:
    """Decide target, ids, splits and modalities of a source.

    Returns:
        The schema, and notes that say what was inferred.

    Raises:
        DataError: an option names no column, or nothing is found to predict from.
        ModalityError: a modality's name cannot be used.
    """
    _check_kinds(source, options)
    target = _target(source, options)
    free = _unclaimed(source, options, target)
    folds = _fold_columns(source, options)
    split = options.split_column
    if split is None and not folds:
        split = _found_split(source, free)
    row_id = options.id_column if options.id_column is not None else _found_id(free, split)
    roles = {"target": target, "split_column": split, "id_column": row_id}
    for role, name in roles.items():
        if name is not None:
            source.column(name, role=role)
    taken = {name: role for role, name in roles.items() if name} | dict.fromkeys(folds, "fold_columns")
    planned, notes = _modalities(source, options, taken)
    schema = Schema(
        source_format=source.source_format,
        modalities=_checked(planned, source),
        target=target,
        target_kind=_target_kind(source, options, target),
        id_column=row_id,
        split_column=split,
        fold_columns=folds,
    )
    return schema, [_target_note(schema), *_role_notes(schema, options), *notes]


def _check_kinds(source: Source, options: ReadOptions) -> None:
    known = [*source.columns, *source.labels, *source.arrays]
    for name, kind in options.kinds.items():
        if name not in known:
            raise DataError(
                f"kinds must name columns of {source.name}, got {name!r}.{did_you_mean(name, known)}"
            )
        if name in source.arrays and kind != "ignore":
            raise DataError(f"The kind of the array {name!r} can only be 'ignore', got {kind!r}.")


def _unclaimed(source: Source, options: ReadOptions, target: str) -> dict[str, Cells]:
    """Columns nobody has said anything about."""
    named = [c for entry in (*options.text, *options.tabular) for c in split_group(entry, source.columns)[1]]
    roles = {target, options.id_column, options.split_column, *_fold_columns(source, options)}
    claimed = {*roles, *options.kinds, *named}
    columns = {**source.labels, **source.columns}
    return {name: cells for name, cells in columns.items() if name not in claimed}


def _target(source: Source, options: ReadOptions) -> str:
    target = options.target if options.target is not None else source.target
    if target is None:
        columns = ", ".join([*source.labels, *source.columns][: 5 * _LISTED])
        raise DataError(
            f"target must name the column of {source.name} to predict, got None. Known: {columns or 'none'}."
        )
    return target


def _target_kind(source: Source, options: ReadOptions, target: str) -> Literal["number", "category"]:
    kind = options.kinds.get(target)
    if kind == "ignore":
        raise DataError(f"The kind of the target {target!r} must be number or category, got 'ignore'.")
    if kind is None and source.target_kind is not None and target == source.target:
        return source.target_kind
    if kind is None:
        kind = infer_kind(source.column(target, role="target"), decimal_comma=source.decimal_comma)
    return "number" if kind == "number" else "category"


def _fold_columns(source: Source, options: ReadOptions) -> tuple[str, ...]:
    if options.fold_columns and options.split_column is not None:
        raise DataError("split_column and fold_columns must not both be given. Name the folds only.")
    columns = [*source.labels, *source.columns]
    found: list[str] = []
    for name in options.fold_columns:
        matches = [name] if name in columns else [one for one in columns if fnmatchcase(one, name)]
        if not matches:
            raise DataError(
                f"fold_columns must name columns of {source.name}, got {name!r}.{did_you_mean(name, columns)}"
            )
        found += matches
    return tuple(dict.fromkeys(found))


def _found_split(source: Source, free: Mapping[str, Cells]) -> str | None:
    if source.split_column is not None:
        return source.split_column
    named = (name for name in free if name.lower() == "split")
    return next((n for n in named if all(str(cell).lower() in SPLIT_WORDS for cell in free[n])), None)


def _found_id(free: Mapping[str, Cells], split: str | None) -> str | None:
    return next((name for name, cells in free.items() if name != split and is_identifier(name, cells)), None)


def _modalities(
    source: Source, options: ReadOptions, roles: dict[str, str]
) -> tuple[list[_Planned], list[str]]:
    planned = [
        _Planned(name, ModalitySpec(kind="embedding"), name)
        for name in source.arrays
        if options.kinds.get(name) != "ignore"
    ]
    if options.text or options.tabular:
        return planned + _named(source, options, roles), []
    free = [name for name in source.columns if name not in roles and options.kinds.get(name) != "ignore"]
    if source.source_format != "table":
        return planned + [_one_per_key(source, options, name) for name in free], []
    found, left_out = _inferred(source, options, free)
    return planned + found, left_out


def _named(source: Source, options: ReadOptions, roles: dict[str, str]) -> list[_Planned]:
    planned: list[_Planned] = []
    for entry in options.text:
        name, columns = split_group(entry, source.columns)
        if len(columns) != 1:
            raise DataError(
                f"text must name one column per modality, got {entry!r}. Give one entry for each."
            )
        planned.append(_group(source, options, "text", name, columns))
    for entry in options.tabular:
        name, columns = split_group(entry, source.columns)
        planned.append(_group(source, options, "table", name if name is not None else "tabular", columns))
    used = [column for one in planned for column in one.spec.columns]
    for column in used:
        if column in roles:
            raise DataError(f"An input must not be the {roles[column]}, got {column!r}.")
        if used.count(column) > 1:
            raise DataError(f"A column must be in one modality only, got {column!r} in several.")
    return planned


def _group(
    source: Source,
    options: ReadOptions,
    kind: Literal["table", "text"],
    name: str | None,
    columns: list[str],
) -> _Planned:
    kinds: dict[str, ColumnKind] = {}
    for column in columns:
        cells = source.column(column, role="text" if kind == "text" else "tabular")
        allowed = ("text",) if kind == "text" else ("number", "category")
        said = options.kinds.get(column)
        if said is not None and said not in allowed:
            raise DataError(f"The kind of {column!r} must be {' or '.join(allowed)} there, got {said!r}.")
        kinds[column] = "text" if kind == "text" else _table_kind(cells, said, source)
    origin = ", ".join(columns)
    return _Planned(
        name if name is not None else modality_name(origin), ModalitySpec(kind=kind, columns=kinds), origin
    )


def _table_kind(cells: Cells, said: str | None, source: Source) -> ColumnKind:
    kind = said if said is not None else infer_kind(cells, decimal_comma=source.decimal_comma)
    return "number" if kind == "number" else "category"


def _one_per_key(source: Source, options: ReadOptions, name: str) -> _Planned:
    said = options.kinds.get(name)
    kind = infer_kind(source.columns[name]) if said is None or said == "ignore" else said
    if kind == "number":
        return _Planned(name, ModalitySpec(kind="embedding"), name)
    holder: Literal["text", "table"] = "text" if kind == "text" else "table"
    return _Planned(name, ModalitySpec(kind=holder, columns={name: kind}), name)


def _inferred(source: Source, options: ReadOptions, free: Iterable[str]) -> tuple[list[_Planned], list[str]]:
    table: dict[str, ColumnKind] = {}
    texts: list[str] = []
    left_out: dict[str, list[str]] = {}
    for column in free:
        cells = source.columns[column]
        kind = options.kinds.get(column)
        if kind is None and (reason := why_left_out(column, cells)) is not None:
            left_out.setdefault(reason, []).append(column)
            continue
        if kind is None or kind == "ignore":
            kind = infer_kind(cells, decimal_comma=source.decimal_comma)
        if kind == "text":
            texts.append(column)
        else:
            table[column] = kind
    planned = [_Planned(modality_name(c), ModalitySpec(kind="text", columns={c: "text"}), c) for c in texts]
    if table:
        planned.append(_Planned("tabular", ModalitySpec(kind="table", columns=table), ", ".join(table)))
    notes = [f"left out ({reason}): {_listed(columns)}" for reason, columns in left_out.items()]
    return planned, notes


def _checked(planned: list[_Planned], source: Source) -> dict[str, ModalitySpec]:
    modalities: dict[str, ModalitySpec] = {}
    for one in planned:
        option = "tabular" if one.spec.kind == "table" else "text"
        advice = (
            f"Give it another: --{option} {'weather' if option == 'tabular' else 'description'}={one.origin}"
            if one.spec.columns
            else "Rename the array."
        )
        check_name(one.name, origin=f"{one.origin!r} of {source.name}", advice=advice)
        if one.name in modalities:
            raise DataError(f"Modalities must have different names, got {one.name!r} twice. {advice}")
        modalities[one.name] = one.spec
    if not modalities:
        raise DataError(f"{source.name} must have a column or array to predict from, got none.")
    return modalities


def _target_note(schema: Schema) -> str:
    what = "numbers" if schema.target_kind == "number" else "names of classes"
    return f"target: {schema.target!r}, read as {what}"


def _role_notes(schema: Schema, options: ReadOptions) -> list[str]:
    notes = []
    if schema.id_column is not None and options.id_column is None:
        notes.append(f"ids: column {schema.id_column!r}")
    if schema.split_column is not None and options.split_column is None:
        notes.append(f"splits: column {schema.split_column!r}")
    for name, spec in schema.modalities.items():
        by_kind: dict[str, list[str]] = {}
        for column, kind in spec.columns.items():
            by_kind.setdefault(kind, []).append(column)
        if by_kind:
            kinds = "; ".join(f"{kind} {_listed(columns)}" for kind, columns in by_kind.items())
            notes.append(f"{name}: {kinds}")
    return notes


def _listed(columns: Collection[str]) -> str:
    shown = ", ".join(list(columns)[:_LISTED])
    return shown + (f" and {len(columns) - _LISTED} more" if len(columns) > _LISTED else "")
