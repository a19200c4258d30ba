"""Numbers that are none, and columns that say nothing."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.cells import Cells, is_missing
from fuseloom.data.checks._finding import Finding
from fuseloom.data.checks.contents import Contents
from fuseloom.data.dataset import Dataset, Embedding, Modality, Series, Table

__all__ = ["find_values"]

_CHUNK = 4096


def find_values(dataset: Dataset, prints: Contents) -> Iterator[Finding]:
    """Entries that are not finite, and columns, features or modalities of one value."""
    for name, modality in dataset.modalities.items():
        if isinstance(modality, Embedding | Series):
            yield from _not_finite(dataset, name, modality)
    if len(dataset) < 2:
        return
    constant = [
        place
        for name, modality in dataset.modalities.items()
        for place in _constant(name, modality, prints[name])
    ]
    if constant:
        yield Finding(
            severity="warning",
            kind="constant",
            what="columns, features or modalities have one value in all rows, or none",
            where=tuple(constant),
            count=len(constant),
            advice="They tell nothing: leave a column out with --kind COLUMN=ignore.",
        )


def _not_finite(dataset: Dataset, name: str, modality: Embedding | Series) -> Iterator[Finding]:
    rows = np.flatnonzero(np.concatenate([_broken(modality.take(part)) for part in _parts(len(modality))]))
    fate = "such entries" if isinstance(modality, Series) else "such rows or tokens"
    if len(rows):
        yield Finding(
            severity="warning",
            kind="not-finite",
            what=f"rows of {name} have entries that are infinite or NaN; {fate} count as missing",
            where=tuple(dataset.ids[row] for row in rows.tolist()),
            count=len(rows),
            advice="Write NaN in a whole row to say that it is missing; otherwise mend what made them.",
        )


def _broken(modality: Embedding | Series) -> NDArray[np.bool_]:
    """Rows with a real vector that is not finite; in a series NaN is a channel that is missing."""
    values = modality.values
    wrong = np.isinf(values) if isinstance(modality, Series) else ~np.isfinite(values)
    wrong &= modality.mask[..., None]
    return np.asarray(wrong.reshape(len(values), -1).any(1))


def _constant(name: str, modality: Modality, digests: list[bytes | None]) -> list[str]:
    if len(set(digests)) == 1:
        return [name]
    if isinstance(modality, Table):
        columns: dict[str, Cells] = {**modality.numbers, **modality.categories}
        return [f"{name}, column {column!r}" for column, cells in columns.items() if _one_value(cells)]
    if isinstance(modality, Embedding | Series):
        return [f"{name}, feature {place}" for place in _constant_features(modality)]
    return []


def _one_value(cells: Cells) -> bool:
    """Whether all cells that are there are the same, and none is missing unless all are."""
    missing = is_missing(cells)
    there = set(cells[~missing].tolist())
    return not there or (len(there) == 1 and not missing.any())


def _constant_features(modality: Embedding | Series) -> list[int]:
    low = np.full(modality.values.shape[-1], np.inf)
    high = -low
    for part in _parts(len(modality)):
        values = modality.values[part][modality.mask[part]]
        if len(values):
            known = np.isfinite(values)
            np.minimum(low, np.where(known, values, np.inf).min(0), out=low)
            np.maximum(high, np.where(known, values, -np.inf).max(0), out=high)
    places: list[int] = np.flatnonzero(high <= low).tolist()
    return places


def _parts(rows: int) -> list[slice]:
    return [slice(start, start + _CHUNK) for start in range(0, max(rows, 1), _CHUNK)]
