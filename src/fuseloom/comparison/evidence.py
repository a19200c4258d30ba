"""Predictions of every model on one split, and their scores on many resamples of its rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.metrics.resampled import resampled
from fuseloom.tasks import Metric

__all__ = ["Evidence", "RunScores", "Scored", "Targets", "resampled_scores"]

Scored = Sequence[Sequence[NDArray[np.floating[Any]]]]
"""Predictions of one model: for each fold an array per seed."""
Targets = Sequence[NDArray[Any]]
"""The truth of each fold."""
Floats = NDArray[np.float64]

_MOST_CELLS = 2**22


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Predictions of every model on one split of each fold, and the truth."""

    predictions: Mapping[str, Scored]
    targets: Targets
    units: Sequence[NDArray[np.intp]]
    """For each fold what its rows are drawn by ``[N]``: the row's number in the data, or the number of its
    group. Rows of one unit are drawn together, in whatever fold they stand."""

    def only(self, *names: str) -> Self:
        """The evidence on some of the models."""
        return replace(self, predictions={name: self.predictions[name] for name in names})

    @property
    def num_units(self) -> int:
        """How many different rows, or groups of them, there are."""
        return len(np.unique(np.concatenate(list(self.units))))

    @property
    def num_rows(self) -> int:
        """Rows of the split; those that all folds share count once."""
        return len(self.targets[0]) if self.shared else sum(map(len, self.targets))

    @property
    def shared(self) -> bool:
        """Whether all folds score the same rows, so that they differ as repeated runs do."""
        pairs = zip(self.units, self.targets, strict=True)
        return all(
            np.array_equal(unit, self.units[0]) and np.array_equal(target, self.targets[0])
            for unit, target in pairs
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class RunScores:
    """Scores of the runs of one model, turned so that higher is better."""

    found: Floats
    """On the rows themselves ``[folds, seeds]``."""
    resampled: Floats
    """On each resample of them ``[resamples, folds, seeds]``; NaN where the metric is undefined."""


def resampled_scores(
    evidence: Evidence, metric: Metric, *, resamples: int = 500, seed: int = 0
) -> dict[str, RunScores]:
    """Score every run of every model on the rows, and on resamples of them that are the same for all.

    What varies from resample to resample is which units are drawn: rows, or whole groups. A unit that stands
    in several folds is drawn equally often in each, so that folds on the same rows are no rows of their own.
    """
    sign = metric.better(1.0)
    models = evidence.predictions.items()
    shape = {name: (len(model), len(model[0])) for name, model in models}
    drawn = {name: np.empty((resamples, *shape[name])) for name in shape}
    for place, counts in _resamples(evidence, resamples, np.random.default_rng(seed)):
        for name, model in models:
            for fold, (runs, target) in enumerate(zip(model, evidence.targets, strict=True)):
                for run, predictions in enumerate(runs):
                    scores = resampled(metric.function, predictions, target, counts[fold])
                    drawn[name][place, fold, run] = sign * scores
    return {name: RunScores(found=_found(evidence, name, metric), resampled=drawn[name]) for name in drawn}


def _found(evidence: Evidence, name: str, metric: Metric) -> Floats:
    pairs = zip(evidence.predictions[name], evidence.targets, strict=True)
    scores = [[metric.better(metric.function(run, target)) for run in runs] for runs, target in pairs]
    return np.array(scores, dtype=np.float64)


def _resamples(
    evidence: Evidence, resamples: int, generator: np.random.Generator
) -> Iterator[tuple[slice, list[NDArray[np.integer[Any]]]]]:
    """How often each row of each fold is drawn, a block of resamples at a time, to save memory."""
    names, places = np.unique(np.concatenate(list(evidence.units)), return_inverse=True)
    size, ends = len(names), np.cumsum([len(units) for units in evidence.units])[:-1]
    step = max(1, _MOST_CELLS // max(size, len(places)))
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = generator.integers(size, size=(count, size)) + size * np.arange(count)[:, None]
        counts = np.bincount(drawn.reshape(-1), minlength=count * size).reshape(count, size)
        parts = np.split(places, ends)
        yield slice(start, start + count), [counts[:, part] for part in parts]
