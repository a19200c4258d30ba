"""A saved model scored on rows whose target is known."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.data import Dataset
from fuseloom.data.cells import as_strings
from fuseloom.errors import DataError, did_you_mean
from fuseloom.tasks import Task
from fuseloom.train.saved import SavedModel

__all__ = ["Scores", "evaluate_model", "known_rows", "known_targets", "score_all"]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Every metric of a task on some rows."""

    rows: int
    """How many had a known target."""
    metrics: Mapping[str, float | None]
    """None where a metric is not defined for these rows."""


def evaluate_model(saved: SavedModel, dataset: Dataset, *, by: str | None = None) -> dict[str, Scores]:
    """Score a model on all rows with a known target, and on those of each split where the rows have one.

    Args:
        saved: The model.
        dataset: Rows read by the model's schema, with their target.
        by: Column whose values part the rows instead of the split, such as the weather.

    Raises:
        DataError: no target is known, it has a class the model does not know, or there is no such column.
    """
    known = known_rows(saved, dataset)
    assert dataset.target is not None
    predictions = saved.predictions(dataset)
    parts = {"all": known}
    if by is not None:
        cells = _column(dataset, by)
        parts |= {str(value): known & (cells == value) for value in sorted(set(cells.tolist()))}
    elif dataset.split is not None:
        parts |= {name: known & (dataset.split == name) for name in ("train", "valid", "test")}
    return {
        name: Scores(
            rows=int(rows.sum()),
            metrics=score_all(saved.task, predictions[rows], saved.task.encode(dataset.target[rows])),
        )
        for name, rows in parts.items()
        if rows.any()
    }


def _column(dataset: Dataset, name: str) -> NDArray[Any]:
    if name not in dataset.labels:
        known = [*dataset.labels]
        hint = did_you_mean(name, known)
        raise DataError(f"by must name a column of {dataset.name}, got {name!r}. Known: {known}.{hint}")
    return np.array(["none" if cell is None else cell for cell in as_strings(dataset.labels[name])])


def known_rows(saved: SavedModel, dataset: Dataset) -> NDArray[np.bool_]:
    """Which rows have a known target, ``[N]``.

    Raises:
        DataError: none has.
    """
    if dataset.target is None:
        name = saved.schema.target or "target"
        raise DataError(f"rows must have the target {name!r} to be scored, got none. Use predict instead.")
    known = known_targets(dataset.target)
    if not known.any():
        raise DataError(f"rows must have a known target, got none in {len(dataset)} rows.")
    return known


def score_all(task: Task, predictions: NDArray[Any], target: NDArray[Any]) -> dict[str, float | None]:
    """Every metric of the task; None where it is not defined for these rows.

    Args:
        task: Gives the metrics.
        predictions: In the form of `Task.predict`.
        target: Encoded.
    """
    scores = {name: float(metric.function(predictions, target)) for name, metric in task.metrics.items()}
    return {name: value if np.isfinite(value) else None for name, value in scores.items()}


def known_targets(target: NDArray[Any]) -> NDArray[np.bool_]:
    """Rows with a target ``[N]``; of several numbers, at least one.

    Example:
        >>> known_targets(np.array([1.5, np.nan])).tolist()
        [True, False]
    """
    if target.dtype.kind == "f":
        there = np.isfinite(target)
    else:
        there = np.array([value is not None for value in target.reshape(-1)]).reshape(target.shape)
    known: NDArray[np.bool_] = there.reshape(len(there), -1).any(1)
    return known
