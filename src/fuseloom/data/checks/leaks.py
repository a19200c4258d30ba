"""Inputs that give the target away: as a copy of it, or by being absent."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.cells import Cells, is_missing
from fuseloom.data.checks._finding import Finding, Severity
from fuseloom.data.dataset import PIXEL_TARGETS, Dataset, Embedding, Modality, Series, Table, Text
from fuseloom.tasks import infer_task

__all__ = ["find_leaks"]

_FEWEST = 20
"""Rows below which nothing is said: chance would do."""
_SHOWN = 5000
_STRONG, _WHOLE = 0.1, 0.8
"""Share of the target's variance that absence explains, to be told and to be an error."""
_CHANCE = 10.0
"""Standard deviations of what chance explains."""


@dataclass(frozen=True)
class _Column:
    place: str
    cells: Cells

    @property
    def there(self) -> NDArray[np.bool_]:
        return ~is_missing(self.cells)


@dataclass(frozen=True)
class _Target:
    values: NDArray[np.float64]
    """Numbers, or the place of each row's class."""
    classes: int
    """How many; none where numbers are predicted."""

    def take(self, rows: NDArray[np.bool_]) -> "_Target":
        kept = self.values[rows]
        return _Target(kept, len(np.unique(kept)) if self.classes else 0)

    def explained(self, flag: NDArray[np.bool_]) -> float:
        """Share of the variance that a flag explains; of classes it is the square of Cramer's V."""
        of = [self.values == one for one in np.unique(self.values)] if self.classes else [self.values]
        spread = flag.mean() * (1 - flag.mean())
        parts = [one.astype(np.float64) - one.mean() for one in of]
        gains = [float((part * flag).mean()) ** 2 / spread for part in parts]
        weights = [
            1 / one.mean() if self.classes else 1 / max(float((p**2).mean()), 1e-300)
            for one, p in zip(of, parts, strict=True)
        ]
        return float(np.dot(gains, weights))


def find_leaks(dataset: Dataset) -> Iterator[Finding]:
    """Columns, features or texts that tell the target without fail, and gaps that do so."""
    if dataset.schema.target_kind in PIXEL_TARGETS or (target := _target(dataset)) is None:
        return
    told: dict[Severity, list[str]] = {"error": [], "warning": []}
    for column in _columns(dataset):
        if (severity := _tells(column, target)) is not None:
            told[severity].append(column.place)
    for severity, places in told.items():
        if places:
            what = (
                "inputs are the target in other words"
                if severity == "error"
                else "inputs alone tell the target without fail"
            )
            yield Finding(
                severity=severity,
                kind="input-tells-target",
                what=what,
                where=tuple(places),
                count=len(places),
                advice="If it is not known before the target is, leave it out: --kind COLUMN=ignore.",
            )
    for place, there in _presence(dataset):
        yield from _gap(place, there, target)


def _target(dataset: Dataset) -> _Target | None:
    if dataset.target is None or dataset.target.size != len(dataset) or len(dataset) < _FEWEST:
        return None
    values = dataset.target.reshape(-1)
    task = infer_task(values)
    if task in ("multilabel", "tagging"):
        return None
    if task == "classification":
        names, places = np.unique([str(value) for value in values.tolist()], return_inverse=True)
        return _Target(places.astype(np.float64), len(names)) if len(names) > 1 else None
    return _Target(values.astype(np.float64), 0)


def _columns(dataset: Dataset) -> Iterator[_Column]:
    for name, modality in dataset.modalities.items():
        if isinstance(modality, Table):
            yield from _cells(name, modality)
        elif isinstance(modality, Text):
            yield _Column(name, modality.values)
        elif isinstance(modality, Embedding) and modality.values.ndim == 2:
            for feature in range(modality.values.shape[1]):
                numbers = modality.values[:, feature].astype(np.float64)
                numbers[~modality.mask | np.isinf(numbers)] = np.nan
                yield _Column(f"{name}, feature {feature}", numbers)


def _cells(name: str, table: Table) -> Iterator[_Column]:
    columns: dict[str, Cells] = {**table.numbers, **table.categories}
    for column, cells in columns.items():
        yield _Column(f"{name}, column {column!r}", cells)


def _tells(column: _Column, target: _Target) -> Severity | None:
    """``error`` where it is the target under other names, ``warning`` where the target follows from it."""
    known = column.there
    rows = target.take(known)
    if known.sum() < max(_FEWEST, len(known) / 2) or len(np.unique(rows.values)) < 2:
        return None
    cells = column.cells[known]
    few = slice(None, None, max(1, len(cells) // _SHOWN))
    shown = rows.values[few]
    first = _Target(shown, len(np.unique(shown)) if rows.classes else 0)
    return None if _follows(cells[few], first) is None else _follows(cells, rows)


def _follows(cells: Cells, target: _Target) -> Severity | None:
    if cells.dtype == np.object_:
        return _by_value(cells.astype(str), target)
    return _by_order(cells.astype(np.float64), target)


def _by_value(cells: NDArray[np.str_], target: _Target) -> Severity | None:
    """Of strings: each stands with one class only, and strings repeat, so that this is no chance."""
    values, codes = np.unique(cells, return_inverse=True)
    if not target.classes or 2 * len(values) > len(cells):
        return None
    pairs = len(np.unique(np.stack([codes, target.values]), axis=1).T)
    if pairs > len(values):
        return None
    return "error" if len(values) == target.classes else "warning"


def _by_order(cells: NDArray[np.float64], target: _Target) -> Severity | None:
    """Of numbers: the target rises or falls with them, or each class has a range of its own."""
    distinct = len(np.unique(cells))
    if target.classes:
        ordered = target.values[np.lexsort((target.values, cells))]
        changes = int((np.diff(ordered) != 0).sum())
        ranges = changes == target.classes - 1 and _is_function(cells, target.values)
        same = distinct == target.classes and _is_function(cells, target.values)
        return "error" if same else "warning" if ranges else None
    if 2 * distinct < len(np.unique(target.values)):
        return None
    for direction in (1.0, -1.0):
        ordered = target.values[np.lexsort((target.values, direction * cells))]
        if (np.diff(ordered) >= 0).all():
            return "error"
    return None


def _is_function(cells: NDArray[np.float64], classes: NDArray[np.float64]) -> bool:
    """Whether equal numbers have equal classes."""
    order = np.argsort(cells, kind="stable")
    equal = np.diff(cells[order]) == 0
    return not bool((np.diff(classes[order])[equal] != 0).any())


def _presence(dataset: Dataset) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    for name, modality in dataset.modalities.items():
        yield name, _there(modality)
        if isinstance(modality, Table):
            columns = list(_cells(name, modality))
            yield from ((one.place, one.there) for one in columns if len(columns) > 1)


def _there(modality: Modality) -> NDArray[np.bool_]:
    if isinstance(modality, Embedding | Series):
        return np.asarray(modality.mask if modality.mask.ndim == 1 else modality.mask.any(1))
    if isinstance(modality, Table):
        return np.asarray(np.any([column.there for column in _cells("", modality)], axis=0))
    cells = modality.values if isinstance(modality, Text) else modality.items
    return np.array([cell is not None for cell in cells], dtype=np.bool_)


def _gap(place: str, there: NDArray[np.bool_], target: _Target) -> Iterator[Finding]:
    """A finding where the target of rows without it differs from that of rows with it."""
    missing = int((~there).sum())
    if missing in (0, len(there)):
        return
    share, freedom = target.explained(there), max(target.classes - 1, 1)
    by_chance = (freedom + _CHANCE * (2 * freedom) ** 0.5) / len(there)
    if share < max(_STRONG, by_chance):
        return
    yield Finding(
        severity="error" if share >= _WHOLE else "warning",
        kind="gap-tells-target",
        what=f"rows lack {place}, and that alone explains {share:.0%} of the target",
        where=(place,),
        count=missing,
        advice="Find out why it is missing: a model learns the gap, which new rows may not have.",
    )
