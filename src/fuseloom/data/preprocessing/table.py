"""Numbers and categories."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Table
from fuseloom.data.preprocessing._base import Encoded, Preprocessor, standardised, usable_std
from fuseloom.errors import DataError

__all__ = ["TablePreprocessor"]


@dataclass(frozen=True, kw_only=True)
class TablePreprocessor(Preprocessor):
    """Standardises numbers, NaN where missing, and numbers categories from 1, 0 where missing or not seen.

    Values are ``[N, C]``, numbers first. A row is masked where all its cells are missing.
    """

    kind = "table"
    reads = "table"
    numbers: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    categories: tuple[tuple[str, tuple[str, ...]], ...]
    """Column and the values seen in training, sorted."""

    @classmethod
    def fit(cls, modality: Table, rows: NDArray[np.intp]) -> Self:
        """Learn from the cells that are there."""
        mean: list[float] = []
        std: list[float] = []
        for column in modality.numbers.values():
            present = column[rows]
            present = present[np.isfinite(present)]
            mean.append(float(present.mean()) if len(present) else 0.0)
            std.append(float(present.std()) if len(present) else 1.0)
        seen = {
            name: {v for v in column[rows] if v is not None} for name, column in modality.categories.items()
        }
        return cls(
            numbers=tuple(modality.numbers),
            mean=tuple(mean),
            std=usable_std(np.array(std), np.array(mean)),
            categories=tuple((name, tuple(sorted(values))) for name, values in seen.items()),
        )

    def apply(self, modality: Table) -> Encoded:
        """Values ``[N, C]`` and one mask entry per row."""
        names = [*self.numbers, *(name for name, _ in self.categories)]
        if missing := [n for n in names if n not in modality.numbers and n not in modality.categories]:
            raise DataError(f"Columns must be those of training, got no {missing[0]!r}.")
        out = np.empty((len(modality), len(names)), dtype=np.float32)
        real = np.zeros(len(modality), dtype=np.bool_)
        for i, name in enumerate(self.numbers):
            column = np.where(np.isfinite(modality.numbers[name]), modality.numbers[name], np.nan)
            out[:, i] = standardised(column, np.array(self.mean[i]), np.array(self.std[i]))
            real |= ~np.isnan(column)
        for i, (name, codes) in enumerate(self._codes.items(), start=len(self.numbers)):
            column = modality.categories[name]
            out[:, i] = [codes.get(value, 0) for value in column]
            real |= np.array([value is not None for value in column])
        return out, real

    @cached_property
    def _codes(self) -> dict[str, dict[str, int]]:
        """Column -> the number of each value; kept, as rows are applied to some at a time."""
        return {
            name: {value: code for code, value in enumerate(values, start=1)}
            for name, values in self.categories
        }

    def encoder_options(self) -> dict[str, Any]:
        """Number of number columns, and codes per category column, 0 included."""
        cardinalities = [len(values) + 1 for _, values in self.categories]
        return {"num_numbers": len(self.numbers), "cardinalities": cardinalities}
