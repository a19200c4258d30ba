"""Rows of several modalities as they were read, before anything was learnt from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.label_maps import LabelFormat
from fuseloom.data.mapping import taken
from fuseloom.data.maps import MapFormat

__all__ = [
    "PIXEL_TARGETS",
    "Audio",
    "ColumnKind",
    "Dataset",
    "Embedding",
    "Files",
    "Image",
    "Map",
    "Modality",
    "ModalityKind",
    "ModalitySpec",
    "Schema",
    "Series",
    "SetAside",
    "Table",
    "TargetKind",
    "Text",
]

TargetKind = Literal["number", "category", "classes", "labels", "image", "map"]
PIXEL_TARGETS: tuple[TargetKind, ...] = ("labels", "image", "map")
"""Targets that say something of each pixel."""
ColumnKind = Literal["number", "category", "text", "image", "map", "audio", "array"]
"""What a column of a table holds; of the last four, paths."""
Rows = NDArray[np.intp] | slice


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """Vectors or sequences of them: ``values`` ``[N, D]`` or ``[N, T, D]``, ``mask`` ``[N]`` or ``[N, T]``.

    True in the mask means real; values under False are arbitrary.
    """

    kind: ClassVar[Literal["embedding"]] = "embedding"
    values: NDArray[np.float32]
    mask: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Rows) -> Self:
        """The selected rows."""
        return type(self)(values=taken(self.values, rows), mask=self.mask[rows])


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns of numbers (float64, NaN = missing) and categories (``None`` = missing), each of length N."""

    kind: ClassVar[Literal["table"]] = "table"
    numbers: Mapping[str, NDArray[np.float64]]
    categories: Mapping[str, NDArray[np.object_]]

    def __len__(self) -> int:
        return len(next(iter([*self.numbers.values(), *self.categories.values()]), ()))

    def take(self, rows: Rows) -> Self:
        """The selected rows."""
        return type(self)(
            numbers={name: column[rows] for name, column in self.numbers.items()},
            categories={name: column[rows] for name, column in self.categories.items()},
        )


@dataclass(frozen=True, kw_only=True)
class Text:
    """Strings, ``None`` = missing."""

    kind: ClassVar[Literal["text"]] = "text"
    values: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Rows) -> Self:
        """The selected rows."""
        return type(self)(values=self.values[rows])


@dataclass(frozen=True, kw_only=True)
class Series:
    """Steps in time: ``values`` ``[N, T, C]`` with NaN where a channel is missing, ``mask`` ``[N, T]``.

    ``time`` ``[N, T]`` is when each step was, in any unit, where steps are not evenly spaced.
    """

    kind: ClassVar[Literal["series"]] = "series"
    values: NDArray[np.float32]
    mask: NDArray[np.bool_]
    time: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Rows) -> Self:
        """The selected rows."""
        time = None if self.time is None else self.time[rows]
        return type(self)(values=taken(self.values, rows), mask=self.mask[rows], time=time)


@dataclass(frozen=True, kw_only=True)
class Image:
    """Pictures, read when they are needed: an item each (see `fuseloom.data.media`), ``None`` = missing."""

    kind: ClassVar[Literal["image"]] = "image"
    items: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: Rows) -> Self:
        """The selected rows."""
        return type(self)(items=self.items[rows])


@dataclass(frozen=True, kw_only=True)
class Audio:
    """Recordings, read when they are needed: an item each (see `fuseloom.data.media`), ``None`` = missing."""

    kind: ClassVar[Literal["audio"]] = "audio"
    items: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: Rows) -> Self:
        """The selected rows."""
        return type(self)(items=self.items[rows])


@dataclass(frozen=True, kw_only=True)
class Map:
    """Maps of numbers, such as depth, read when they are needed: an item each (see `fuseloom.data.maps`)."""

    kind: ClassVar[Literal["map"]] = "map"
    items: NDArray[np.object_]
    """``None`` = missing."""
    form: MapFormat = field(default_factory=MapFormat)
    """What the numbers in them mean."""

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: Rows) -> Self:
        """The selected rows."""
        return type(self)(items=self.items[rows], form=self.form)


Files = Image | Map | Audio
"""Modalities whose items are read when they are needed."""
Modality = Embedding | Table | Text | Series | Files
ModalityKind = Literal["embedding", "table", "text", "series", "image", "map", "audio"]


@dataclass(frozen=True, kw_only=True)
class ModalitySpec:
    """Where one modality comes from: its kind, and for a table file its columns with their kinds."""

    kind: ModalityKind
    columns: Mapping[str, ColumnKind] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Schema:
    """How a source was understood; saved with a model, so that new rows are read the same way."""

    source_format: str
    modalities: Mapping[str, ModalitySpec]
    target: str | None = None
    """Column to predict; several are joined by commas here and listed in ``target_columns``."""
    target_columns: tuple[str, ...] = ()
    """Where there are several."""
    target_kind: TargetKind | None = None
    """Whether the target was read as numbers, as names of classes, as lists of them, where an empty one has
    no class, as maps of labels, as pictures, or as maps of numbers."""
    label_format: LabelFormat | None = None
    """Of maps of labels."""
    map_format: MapFormat | None = None
    """Of maps of numbers that are the target."""
    id_column: str | None = None
    split_column: str | None = None
    fold_columns: tuple[str, ...] = ()
    group_column: str | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns to predict."""
        return self.target_columns or (() if self.target is None else (self.target,))


@dataclass(frozen=True, kw_only=True)
class SetAside:
    """A row that could not be used: where it stands (``reviews.csv:17``) and why."""

    where: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Row-aligned modalities with their target.

    ``target`` ``[N]``, or ``[N, K]`` of several columns, holds raw values, strings, float64, a `LabelMap`
    or a `TargetPicture` (in rows read for prediction also ``None`` and NaN, where it is not known; of several
    columns NaN wherever one is not);
    ``split`` holds ``train``, ``valid`` or ``test`` per row where the source gives one (in rows read for
    prediction also nothing, where it is not known), and ``folds`` several of that kind where it gives folds.
    """

    name: str
    modalities: Mapping[str, Modality]
    target: NDArray[Any] | None
    ids: Sequence[str]
    split: NDArray[np.str_] | None
    schema: Schema
    folds: Sequence[NDArray[np.str_]] = ()
    groups: NDArray[np.object_] | None = None
    """What must not be divided between splits: the speaker, the patient, the page."""
    labels: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Columns ``[N]`` of the source that describe rows and are never inputs, such as a stated quality."""
    grouping: str | None = None
    """The one of them that no two splits should share, where nobody asked for groups."""
    set_aside: Sequence[SetAside] = ()
    missing: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Modality -> id of each row that was kept without it, as its file cannot be had, and why."""
    notes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.ids)
