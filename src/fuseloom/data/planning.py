"""Which columns and arrays become which modalities: what a person said, and what is inferred."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import cast, get_args

from fuseloom.data.cells import Cells, as_strings
from fuseloom.data.dataset import (
    PIXEL_TARGETS,
    ColumnKind,
    Embedding,
    Image,
    Map,
    Modality,
    ModalityKind,
    ModalitySpec,
    Schema,
    TargetKind,
)
from fuseloom.data.files import items_of
from fuseloom.data.kinds import infer_kind, is_identifier, why_left_out
from fuseloom.data.label_maps import LabelFormat, read_label_format
from fuseloom.data.maps import MapFormat
from fuseloom.data.media import picture_head
from fuseloom.data.names import check_name, modality_name, split_group
from fuseloom.data.options import ReadOptions
from fuseloom.data.source import Source
from fuseloom.errors import DataError, did_you_mean
from fuseloom.tasks import infer_task

__all__ = ["SPLIT_WORDS", "plan"]

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
    "none": "",
}
"""How sources spell the three splits -> how we do; and what they say of rows that are in none of them."""

_HOLDERS: Mapping[ColumnKind, ModalityKind] = {
    "number": "table",
    "category": "table",
    "text": "text",
    "image": "image",
    "map": "map",
    "audio": "audio",
    "array": "embedding",
}
"""Kind of a column -> kind of the modality that holds it."""

_LISTED = 8
_COLOURS = ("RGB", "RGBA", "CMYK", "YCbCr")


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
    target = _target(source, options)
    targets = _columns_of(source, target)
    _check_kinds(source, options, targets)
    free = _unclaimed(source, options, targets)
    folds = _fold_columns(source, options)
    split = options.split_column
    if split is None and not folds:
        split = _found_split(source, options, free)
    row_id = options.id_column if options.id_column is not None else _found_id(source, free, split)
    roles = {
        "split_column": split,
        "id_column": row_id,
        "group_column": options.group_column,
    }
    taken = dict.fromkeys(targets, "target") | {
        name: role for role, name in roles.items() if name is not None
    }
    for name, role in taken.items():
        if not (role == "target" and isinstance(source.arrays.get(name), Image | Map)):
            source.column(name, role=role)
    taken |= dict.fromkeys(folds, "fold_columns")
    planned, notes = _modalities(source, options, taken)
    kind = _kind_of_all(source, options, targets)
    schema = Schema(
        source_format=source.source_format,
        modalities=_checked(planned, source),
        target=target,
        target_columns=targets if len(targets) > 1 else (),
        target_kind=kind,
        label_format=_label_format(source, options) if kind == "labels" else None,
        map_format=_map_format(source, target) if kind == "map" else None,
        id_column=row_id,
        split_column=split,
        fold_columns=folds,
        group_column=options.group_column,
    )
    return schema, [_target_note(schema), *_role_notes(schema, options), *notes]


def _check_kinds(source: Source, options: ReadOptions, targets: Sequence[str]) -> None:
    known = [*source.columns, *source.labels, *source.arrays, *source.unusable]
    for name, kind in options.kinds.items():
        if name not in known:
            raise DataError(
                f"kinds must name columns of {source.name}, got {name!r}.{did_you_mean(name, known)}"
            )
        allowed = _array_kinds(source.arrays[name]) if name in source.arrays else get_args(ColumnKind)
        allowed = (*allowed, "classes", "labels") if name in targets else allowed
        if kind != "ignore" and name in source.unusable:
            raise DataError(f"The kind of {name!r} must be 'ignore', got {kind!r}: {source.unusable[name]}.")
        if kind != "ignore" and kind not in allowed:
            listed = " or ".join(map(repr, [*allowed, "ignore"]))
            raise DataError(f"The kind of {name!r} must be {listed}, got {kind!r}.")


def _array_kinds(array: Modality) -> tuple[str, ...]:
    """What an array can be taken for."""
    tokens = isinstance(array, Embedding) and array.values.ndim == 3
    return ("embedding", "series") if tokens else (array.kind,)


def _unclaimed(source: Source, options: ReadOptions, targets: Sequence[str]) -> dict[str, Cells]:
    """Columns nobody has said anything about."""
    named = [c for entry in options.named for c in split_group(entry, source.columns)[1]]
    said = (options.id_column, options.split_column, options.group_column)
    roles = {*targets, *said, *_fold_columns(source, options)}
    claimed = {*roles, *options.kinds, *named}
    columns = {**source.labels, **source.columns}
    return {name: cells for name, cells in columns.items() if name not in claimed}


def _target(source: Source, options: ReadOptions) -> str:
    target = options.target if options.target is not None else source.target
    if target is None:
        pictures = [name for name, array in source.arrays.items() if isinstance(array, Image | Map)]
        columns = ", ".join([*source.labels, *source.columns, *pictures][: 5 * _LISTED])
        raise DataError(
            f"target must name the column of {source.name} to predict, got None. Known: {columns or 'none'}."
        )
    return target


def _columns_of(source: Source, target: str) -> tuple[str, ...]:
    """One column, or several with commas between them."""
    return (target,) if target in source else tuple(split_group(target, [])[1])


def _kind_of_all(source: Source, options: ReadOptions, targets: Sequence[str]) -> TargetKind:
    kinds = {name: _target_kind(source, options, name) for name in targets}
    if len(kinds) > 1 and (names := [name for name, kind in kinds.items() if kind != "number"]):
        raise DataError(
            f"Several targets must all be numbers, got classes in {names[0]!r}. Of several classes per row, "
            "give 0 or 1 per class, or one column with ; between them."
        )
    return kinds[targets[0]]


def _target_kind(source: Source, options: ReadOptions, target: str) -> TargetKind:
    kind: str | None = options.kinds.get(target)
    if kind == "ignore":
        raise DataError(f"The kind of the target {target!r} must be number or category, got 'ignore'.")
    if kind is None and source.target_kind is not None and target == source.target:
        return source.target_kind
    if kind is None and isinstance(array := source.arrays.get(target), Image | Map):
        return array.kind
    if kind is None:
        cells = source.column(target, role="target")
        kind = infer_kind(cells, decimal_comma=source.decimal_comma)
        if kind in ("image", "array"):
            kind = "image" if options.labels is None and _has_colours(source, cells) else "labels"
        elif kind != "number" and infer_task(as_strings(cells)) == "multilabel":
            kind = "classes"
    return kind if kind in ("number", "classes", *PIXEL_TARGETS) else "category"


def _has_colours(source: Source, cells: Cells) -> bool:
    """Whether the first picture that can be read has colours, and no palette: then no label is meant."""
    if source.label_format is not None:
        return False
    for item in items_of(cells, source.root):
        try:
            return item is not None and picture_head(item)[0] in _COLOURS
        except DataError:
            continue
    return False


def _map_format(source: Source, target: str) -> MapFormat:
    array = source.arrays.get(target)
    return array.form if isinstance(array, Map) else MapFormat()


def _label_format(source: Source, options: ReadOptions) -> LabelFormat:
    form = LabelFormat() if source.label_format is None else source.label_format
    return (
        form if options.labels is None else replace(read_label_format(options.labels), channel=form.channel)
    )


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


def _found_split(source: Source, options: ReadOptions, free: Mapping[str, Cells]) -> str | None:
    if source.split_column is not None and options.kinds.get(source.split_column) != "ignore":
        return source.split_column
    named = (name for name in free if name.lower() == "split")
    return next((n for n in named if all(str(cell).lower() in SPLIT_WORDS for cell in free[n])), None)


def _found_id(source: Source, free: Mapping[str, Cells], split: str | None) -> str | None:
    """The first column that names the rows; one of files that are there is an input rather than that."""
    roles = (split, source.target)
    names = (name for name, cells in free.items() if name not in roles and is_identifier(name, cells))
    return next((n for n in names if n in source.labels or not _has_files(source, n)), None)


def _has_files(source: Source, column: str) -> bool:
    """Whether a column holds paths of files, some of which is there."""
    cells = source.columns[column]
    if infer_kind(cells) not in ("image", "audio", "array"):
        return False
    return any(item is not None and item.is_file() for item in items_of(cells, source.root))


def _modalities(
    source: Source, options: ReadOptions, roles: dict[str, str]
) -> tuple[list[_Planned], list[str]]:
    # Of a file with columns, those that are not named are left out, of an archive or folder none.
    named = bool(options.named) and source.source_format == "table"
    claimed = {c for entry in options.named for c in split_group(entry, source.arrays)[1]}
    planned = [
        _Planned(name, ModalitySpec(kind=_array_kind(name, array, options)), name)
        for name, array in source.arrays.items()
        if options.kinds.get(name) != "ignore" and not named and name not in claimed and name not in roles
    ]
    if options.named:
        return planned + _named(source, options, roles), []
    free = [name for name in source.columns if name not in roles and options.kinds.get(name) != "ignore"]
    if source.source_format != "table":
        return planned + [_one_per_key(source, options, name) for name in free], []
    found, left_out = _inferred(source, options, free)
    said = options.kinds  # to ignore them
    unusable = [f"left out ({why}): {name}" for name, why in source.unusable.items() if name not in said]
    return planned + found, [*left_out, *unusable]


def _array_kind(name: str, array: Modality, options: ReadOptions) -> ModalityKind:
    kind: ModalityKind = array.kind
    return "series" if options.kinds.get(name) == "series" else kind


def _named(source: Source, options: ReadOptions, roles: dict[str, str]) -> list[_Planned]:
    planned: list[_Planned] = []
    for kind, entries in options.inputs.items():
        for entry in entries:
            name, columns = split_group(entry, [*source.columns, *source.arrays])
            if len(columns) != 1:
                raise DataError(
                    f"{kind} must name one column per modality, got {entry!r}. Give one entry for each."
                )
            planned.append(_single(source, options, kind, name, columns[0]))
    for entry in options.tabular:
        name, columns = split_group(entry, source.columns)
        planned.append(_group(source, options, name if name is not None else "tabular", columns))
    used = [column for one in planned for column in one.spec.columns]
    for column in used:
        if column in roles:
            raise DataError(f"An input must not be the {roles[column]}, got {column!r}.")
        if used.count(column) > 1:
            raise DataError(f"A column must be in one modality only, got {column!r} in several.")
    return planned


def _single(
    source: Source, options: ReadOptions, kind: ColumnKind, name: str | None, column: str
) -> _Planned:
    """A modality of one column, or array."""
    if column in source.arrays:
        return _named_array(source, options, kind, name, column)
    source.column(column, role=kind)
    said = options.kinds.get(column)
    if said not in (None, kind):
        raise DataError(f"The kind of {column!r} must be {kind} there, got {said!r}.")
    spec = ModalitySpec(kind=_HOLDERS[kind], columns={column: kind})
    return _Planned(name if name is not None else modality_name(column), spec, column)


def _named_array(
    source: Source, options: ReadOptions, kind: ColumnKind, name: str | None, column: str
) -> _Planned:
    array = source.arrays[column]
    held = "array" if array.kind in ("embedding", "series") else array.kind
    if kind != held:
        raise DataError(f"{kind} must name a column of that kind, got {column!r}: use --{held}.")
    spec = ModalitySpec(kind=_array_kind(column, array, options), columns={column: kind})
    return _Planned(name if name is not None else modality_name(column), spec, column)


def _group(source: Source, options: ReadOptions, name: str, columns: list[str]) -> _Planned:
    """A modality of numbers and categories."""
    kinds: dict[str, ColumnKind] = {}
    for column in columns:
        cells = source.column(column, role="tabular")
        said = options.kinds.get(column)
        if said not in (None, "number", "category"):
            raise DataError(f"The kind of {column!r} must be number or category there, got {said!r}.")
        kinds[column] = _table_kind(cells, said, source)
    return _Planned(name, ModalitySpec(kind="table", columns=kinds), ", ".join(columns))


def _table_kind(cells: Cells, said: str | None, source: Source) -> ColumnKind:
    kind = said if said is not None else infer_kind(cells, decimal_comma=source.decimal_comma)
    return "number" if kind == "number" else "category"


def _one_per_key(source: Source, options: ReadOptions, name: str) -> _Planned:
    kind = _column_kind(source, options, name)
    if kind == "number":
        return _Planned(name, ModalitySpec(kind="embedding"), name)
    return _Planned(name, ModalitySpec(kind=_HOLDERS[kind], columns={name: kind}), name)


def _column_kind(source: Source, options: ReadOptions, name: str) -> ColumnKind:
    said = options.kinds.get(name)
    if said is None or said in ("ignore", "series", "embedding"):
        return infer_kind(source.columns[name], decimal_comma=source.decimal_comma)
    return cast(ColumnKind, said)


def _inferred(source: Source, options: ReadOptions, free: Iterable[str]) -> tuple[list[_Planned], list[str]]:
    table: dict[str, ColumnKind] = {}
    planned: list[_Planned] = []
    left_out: dict[str, list[str]] = {}
    for column in free:
        kind = _column_kind(source, options, column)
        reason = None if column in options.kinds else _why_left_out(source, column, kind)
        if reason is not None:
            left_out.setdefault(reason, []).append(column)
        elif _HOLDERS[kind] == "table":
            table[column] = kind
        else:
            spec = ModalitySpec(kind=_HOLDERS[kind], columns={column: kind})
            planned.append(_Planned(modality_name(column), spec, column))
    if table:
        planned.append(_Planned("tabular", ModalitySpec(kind="table", columns=table), ", ".join(table)))
    notes = [f"left out ({reason}): {_listed(columns)}" for reason, columns in left_out.items()]
    return planned, notes


def _why_left_out(source: Source, column: str, kind: ColumnKind) -> str | None:
    if kind not in ("image", "audio", "array"):
        return why_left_out(column, source.columns[column])
    return None if _has_files(source, column) else f"no such {kind} files"


def _checked(planned: list[_Planned], source: Source) -> dict[str, ModalitySpec]:
    modalities: dict[str, ModalitySpec] = {}
    for one in planned:
        option = "tabular" if one.spec.kind == "table" else next(iter(one.spec.columns.values()), "")
        example = "weather" if option == "tabular" else "description"
        advice = (
            f"Give it another: --{option} {example}={one.origin}" if one.spec.columns else "Rename the array."
        )
        check_name(one.name, origin=f"{one.origin!r} of {source.name}", advice=advice)
        if one.name in modalities:
            raise DataError(f"Modalities must have different names, got {one.name!r} twice. {advice}")
        modalities[one.name] = one.spec
    if not modalities:
        raise DataError(f"{source.name} must have a column or array to predict from, got none.")
    return modalities


def _target_note(schema: Schema) -> str:
    what = {
        "number": "numbers",
        "classes": "lists of classes, of which an empty cell has none",
        "labels": "maps of labels",
        "image": "pictures",
        "map": "maps of numbers",
    }
    return f"target: {schema.target!r}, read as {what.get(str(schema.target_kind), 'names of classes')}"


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
