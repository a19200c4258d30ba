"""What data hold, in plain values that can be shown."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.cells import Cells, is_missing
from fuseloom.data.dataset import Dataset, Embedding, Files, Map, Modality, Series, Table, Text
from fuseloom.data.label_counts import LabelPixels, label_pixels
from fuseloom.data.label_maps import IGNORED
from fuseloom.data.maps import MapFormat, read_map
from fuseloom.data.media import (
    ArchivePart,
    Frames,
    PicturePart,
    frames_of,
    read_audio,
    read_image,
    read_item,
    shown_item,
)
from fuseloom.data.target_pictures import target_modality
from fuseloom.metrics.spans import entity_spans
from fuseloom.tasks import infer_task

__all__ = ["Description", "Inferred", "PartDescription", "Range", "describe"]

_LOOKED_AT = 256
"""Pictures and recordings that are opened to say how large they are."""
_EXAMPLES = 3
_CHUNK = 4096
_CHANGED_BY = (
    ("target:", "--target COLUMN, --kind COLUMN=number, =category, =classes, =labels, =image or =map"),
    ("ids:", "--id COLUMN"),
    ("splits:", "--split COLUMN"),
    ("left out", "--kind COLUMN=KIND, or name the inputs (--text, --tabular, --image, ...)"),
)


@dataclass(frozen=True, kw_only=True)
class Range:
    """Where numbers lie."""

    least: float
    mean: float
    greatest: float


@dataclass(frozen=True, kw_only=True)
class PartDescription:
    """A modality, a column of one, or the target."""

    name: str
    kind: str
    shape: str = ""
    """Features, size or number of values, in words."""
    missing: int = 0
    """Rows that lack it."""
    range: Range | None = None
    """Of numbers."""
    counts: Mapping[str, int] | None = None
    """Of categories and classes, the most frequent first."""
    examples: tuple[str, ...] = ()
    columns: tuple["PartDescription", ...] = ()
    """Of a table."""


@dataclass(frozen=True, kw_only=True)
class Inferred:
    """What nobody said, and the option that says otherwise; empty where there is none."""

    what: str
    change: str


@dataclass(frozen=True, kw_only=True)
class Description:
    """A data set in numbers and words."""

    name: str
    source_format: str
    rows: int
    """That can be used."""
    set_aside: int
    """Rows that cannot."""
    target: PartDescription | None
    modalities: tuple[PartDescription, ...]
    splits: tuple[Mapping[str, int], ...]
    """Rows of each split that the source gives, once for each fold; empty where splits are made."""
    groups: int | None
    """How many there are, where rows are grouped."""
    inferred: tuple[Inferred, ...]


def describe(dataset: Dataset) -> Description:
    """Say what a data set holds, and what of that was inferred.

    Args:
        dataset: As `fuseloom.data.load` gives it; up to 256 pictures and recordings are read.

    Raises:
        DataError: a file has vanished since.

    Example:
        >>> from fuseloom.data import load
        >>> found = describe(load({"text": ["so so", "fine", None, "bad"], "price": [[1.0], [2], [3], [4]]},
        ...     target=["no", "yes", "no", "no"]))
        >>> found.target.counts, [(part.name, part.missing) for part in found.modalities]
        ({'no': 3, 'yes': 1}, [('price', 0), ('text', 1)])
    """
    given = dataset.folds if dataset.folds else [] if dataset.split is None else [dataset.split]
    return Description(
        name=dataset.name,
        source_format=dataset.schema.source_format,
        rows=len(dataset),
        set_aside=len(dataset.set_aside),
        target=None if dataset.target is None else _target(dataset, dataset.target),
        modalities=tuple(_modality(name, one) for name, one in dataset.modalities.items()),
        splits=tuple(_by_frequency(split.tolist()) for split in given),
        groups=None if dataset.groups is None else len(set(dataset.groups.tolist())),
        inferred=tuple(_inferred(dataset)),
    )


def _target(dataset: Dataset, target: NDArray[Any]) -> PartDescription:
    name = dataset.schema.target or "target"
    if (pictures := target_modality(dataset)) is not None:
        return _files(name, pictures)
    pixels = label_pixels(dataset)
    return _label_maps(name, pixels) if pixels is not None else _values(name, target)


def _values(name: str, target: NDArray[Any]) -> PartDescription:
    """Numbers, classes or tags."""
    task, values = infer_task(target), target.reshape(-1)
    if task == "regression":
        numbers = values.astype(np.float64)
        return PartDescription(name=name, kind=task, shape=_distinct(numbers), range=_range([numbers]))
    if task == "tagging":
        return _tags(name, values.tolist())
    counts = _by_frequency([_plain(value) or "(no class)" for value in values.tolist()])
    what = "classes" if task == "classification" else "different"
    return PartDescription(name=name, kind=task, shape=f"{len(counts):,} {what}", counts=counts)


def _label_maps(name: str, pixels: LabelPixels) -> PartDescription:
    """How large the maps are, what of them counts, and in how many rows each label is."""
    high, wide = (_span(list(sides)) for sides in zip(*pixels.sizes, strict=True))
    uncounted = pixels.counts[:, IGNORED].sum() / pixels.counts.sum()
    rows = (pixels.counted > 0).sum(0).tolist()
    return PartDescription(
        name=name,
        kind="maps of labels",
        shape=f"{len(rows):,} labels, {wide} x {high} pixels, of which {uncounted:.1%} do not count",
        counts=dict(sorted(zip(pixels.names, rows, strict=True), key=lambda pair: -pair[1])),
    )


def _tags(name: str, sentences: Sequence[Sequence[str]]) -> PartDescription:
    """How many tags and entities there are, and in how many rows each type is."""
    spans = [entity_spans(tags) for tags in sentences]
    types = [sorted({span.type for span in found}) or ["(no entity)"] for found in spans]
    tags = len({tag for sentence in sentences for tag in sentence})
    return PartDescription(
        name=name,
        kind="tagging",
        shape=f"{tags:,} tags of {sum(map(len, sentences)):,} words, {sum(map(len, spans)):,} entities",
        counts=_by_frequency(kind for of_row in types for kind in of_row),
    )


def _modality(name: str, modality: Modality) -> PartDescription:
    if isinstance(modality, Table):
        return _table(name, modality)
    if isinstance(modality, Text):
        return _text(name, modality)
    if isinstance(modality, Embedding | Series):
        return _numbers(name, modality)
    return _files(name, modality)


def _table(name: str, table: Table) -> PartDescription:
    columns = [_number_column(column, cells) for column, cells in table.numbers.items()]
    columns += [_category_column(column, cells) for column, cells in table.categories.items()]
    cells: list[Cells] = [*table.numbers.values(), *table.categories.values()]
    absent = np.all([is_missing(one) for one in cells], axis=0)
    shape = f"{len(table.numbers)} of numbers, {len(table.categories)} of categories"
    return PartDescription(
        name=name, kind="table", shape=shape, missing=int(absent.sum()), columns=tuple(columns)
    )


def _number_column(name: str, cells: NDArray[np.float64]) -> PartDescription:
    missing = int(is_missing(cells).sum())
    return PartDescription(
        name=name, kind="number", shape=_distinct(cells), missing=missing, range=_range([cells])
    )


def _category_column(name: str, cells: NDArray[np.object_]) -> PartDescription:
    counts = _by_frequency([str(cell) for cell in cells.tolist() if cell is not None])
    missing = int(is_missing(cells).sum())
    return PartDescription(
        name=name, kind="category", shape=f"{len(counts):,} values", missing=missing, counts=counts
    )


def _text(name: str, text: Text) -> PartDescription:
    there = [value for value in text.values.tolist() if value is not None]
    words = [len(value.split()) for value in there]
    return PartDescription(
        name=name,
        kind="text",
        shape=f"{_span(words)} words",
        missing=len(text) - len(there),
        examples=tuple(there[:_EXAMPLES]),
    )


def _numbers(name: str, modality: Embedding | Series) -> PartDescription:
    tokens = modality.values.ndim == 3
    width = modality.values.shape[-1]
    real = modality.mask.any(1) if tokens else modality.mask
    steps = f"{_span(modality.mask.sum(1)[real].tolist())} steps of " if tokens else ""
    parts = (slice(start, start + _CHUNK) for start in range(0, len(modality), _CHUNK))
    return PartDescription(
        name=name,
        kind=modality.kind,
        shape=f"{steps}{width:,} {'channels' if isinstance(modality, Series) else 'features'}",
        missing=int((~real).sum()),
        range=_range(modality.values[part][modality.mask[part]] for part in parts),
    )


def _files(name: str, modality: Files) -> PartDescription:
    there = [item for item in modality.items if item is not None]
    shown = there[:: max(1, len(there) // _LOOKED_AT)]
    return PartDescription(
        name=name,
        kind=modality.kind,
        shape=_SHAPES[modality.kind](shown),
        missing=len(modality) - len(there),
        range=_range(_known(item, modality.form) for item in shown) if isinstance(modality, Map) else None,
        examples=tuple(
            shown_item(i)
            for i in there[:_EXAMPLES]
            if isinstance(i, Path | ArchivePart | PicturePart | Frames)
        ),
    )


def _known(item: Any, form: MapFormat) -> NDArray[np.float32]:
    values, known = read_item(partial(read_map, form=form), item)
    return values[:, known]


def _sizes(items: Sequence[Any]) -> str:
    frames = [len(frames_of(item)) for item in items]
    shapes = [read_item(read_image, frames_of(item)[0]).shape for item in items]
    many = "" if set(frames) <= {1} else f"{_span(frames)} frames of "
    return many + " x ".join(_span([shape[axis] for shape in shapes]) for axis in (1, 0)) + " pixels"


def _grids(items: Sequence[Any]) -> str:
    shapes = [read_item(read_map, item)[0].shape for item in items]
    return " x ".join(_span([shape[axis] for shape in shapes]) for axis in (2, 1, 0)) + " numbers"


def _lengths(items: Sequence[Any]) -> str:
    read = [read_item(read_audio, item) for item in items]
    seconds = [round(len(wave) / rate, 2) for wave, rate in read]
    return f"{_span(seconds)} s at {_span([rate for _, rate in read])} Hz"


_SHAPES: Mapping[str, Callable[[Sequence[Any]], str]] = {"image": _sizes, "map": _grids, "audio": _lengths}
"""Kind of modality -> how large its items are."""


def _span(numbers: Sequence[float]) -> str:
    if not numbers:
        return "no"
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _range(parts: Iterable[NDArray[Any]]) -> Range | None:
    """Of the finite numbers in all parts."""
    least, greatest, total, count = np.inf, -np.inf, 0.0, 0
    for part in parts:
        known = part[np.isfinite(part)].astype(np.float64)
        if known.size:
            least, greatest = min(least, float(known.min())), max(greatest, float(known.max()))
            total, count = total + float(known.sum()), count + known.size
    return Range(least=least, mean=total / count, greatest=greatest) if count else None


def _distinct(numbers: NDArray[np.float64]) -> str:
    return f"{len(np.unique(numbers[np.isfinite(numbers)])):,} different"


def _by_frequency(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0])))


def _plain(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _inferred(dataset: Dataset) -> Iterable[Inferred]:
    for note in dataset.notes:
        options = [option for start, option in _CHANGED_BY if note.startswith(start)]
        if not options and note.partition(":")[0] in dataset.modalities:
            options = ["--kind COLUMN=KIND, or name the inputs (--text, --tabular, --image, ...)"]
        yield Inferred(what=note, change=options[0] if options else "")
    for name, modality in dataset.modalities.items():
        if isinstance(modality, Embedding) and modality.values.ndim == 3:
            what = f"{name}: three axes, taken for tokens without times"
            yield Inferred(what=what, change=f"--kind {name}=series")
