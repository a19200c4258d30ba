"""Rows of several modalities as they were read, before anything was learnt from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ColumnKind",
    "Dataset",
    "Embedding",
    "Modality",
    "ModalitySpec",
    "Schema",
    "SetAside",
    "Table",
    "Text",
]

ColumnKind = Literal["number", "category", "text"]


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """Vectors or sequences of them: ``values`` ``[N, D]`` or ``[N, T, D]``, ``mask`` ``[N]`` or ``[N, T]``.

    True in the mask means real; values under False are arbitrary.
    """

    kind = "embedding"
    values: NDArray[np.float32]
    mask: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: NDArray[np.intp]) -> Self:
        """The rows selected by index."""
        return type(self)(values=self.values[rows], mask=self.mask[rows])


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns of numbers (float64, NaN = missing) and categories (``None`` = missing), each of length N."""

    kind = "table"
    numbers: Mapping[str, NDArray[np.float64]]
    categories: Mapping[str, NDArray[np.object_]]

    def __len__(self) -> int:
        return len(next(iter([*self.numbers.values(), *self.categories.values()]), ()))

    def take(self, rows: NDArray[np.intp]) -> Self:
        """The rows selected by index."""
        return type(self)(
            numbers={name: column[rows] for name, column in self.numbers.items()},
            categories={name: column[rows] for name, column in self.categories.items()},
        )


@dataclass(frozen=True, kw_only=True)
class Text:
    """Strings, ``None`` = missing."""

    kind = "text"
    values: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: NDArray[np.intp]) -> Self:
        """The rows selected by index."""
        return type(self)(values=self.values[rows])


Modality = Embedding | Table | Text


@dataclass(frozen=True, kw_only=True)
class ModalitySpec:
    """Where one modality comes from: its kind, and for a table file its columns with their kinds."""

    kind: Literal["embedding", "table", "text"]
    columns: Mapping[str, ColumnKind] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Schema:
    """How a source was understood; saved with a model, so that new rows are read the same way."""

    source_format: str
    modalities: Mapping[str, ModalitySpec]
    target: str | None = None
    target_kind: Literal["number", "category"] | None = None
    """Whether the target was read as numbers or as names of classes."""
    id_column: str | None = None
    split_column: str | None = None
    fold_columns: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SetAside:
    """A row that could not be used: where it stands (``reviews.csv:17``) and why."""

    where: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Row-aligned modalities with their target.

    ``target`` holds raw values, strings or float64 (in rows read for prediction also ``None`` and NaN, where
    it is not known); ``split`` holds ``train``, ``valid`` or ``test`` per row where the source gives one, and
    ``folds`` several of that kind where it gives folds.
    """

    name: str
    modalities: Mapping[str, Modality]
    target: NDArray[Any] | None
    ids: Sequence[str]
    split: NDArray[np.str_] | None
    schema: Schema
    folds: Sequence[NDArray[np.str_]] = ()
    set_aside: Sequence[SetAside] = ()
    notes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.ids)
