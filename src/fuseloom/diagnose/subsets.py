"""How good a model is with some of its modalities only: every subset, the others masked as absent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.diagnose.reliance import hide
from fuseloom.diagnose.resampling import interval_of, known_target, scored
from fuseloom.metrics.interval import Interval
from fuseloom.tasks import Metric
from fuseloom.types import Batch

__all__ = ["SubsetScore", "Subsets", "subset_names", "subsets"]

Floats = NDArray[np.floating[Any]]

_MOST_FOR_ALL = 6
_NO_MODELS: Mapping[str, Floats] = {}


@dataclass(frozen=True, kw_only=True)
class SubsetScore:
    """The score of a model that is given some of its modalities."""

    modalities: tuple[str, ...]
    score: Interval
    drop: Interval
    """Loss against all modalities in the units of the metric, positive where the score gets worse; paired
    bootstrap over rows."""
    alone: Interval | None = None
    """Score on the same rows of a model that was trained on this modality alone; None for several."""


@dataclass(frozen=True, kw_only=True)
class Subsets:
    """The scores of one model on held-out rows for subsets of its modalities."""

    model: str
    metric: str
    scores: tuple[SubsetScore, ...]
    """All modalities first, then fewer and fewer."""


def subset_names(modalities: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All non-empty subsets, large ones first; of more than six modalities all, all but one, and single ones.

    Example:
        >>> subset_names(("text", "image"))
        [('text', 'image'), ('text',), ('image',)]
        >>> [len(subset) for subset in subset_names(tuple("abcdefg"))]
        [7, 6, 6, 6, 6, 6, 6, 6, 1, 1, 1, 1, 1, 1, 1]
    """
    count = len(modalities)
    sizes = range(count, 0, -1) if count <= _MOST_FOR_ALL else (count, count - 1, 1)
    return [subset for size in sizes for subset in combinations(modalities, size)]


def subsets(
    predict: Callable[[Batch], Floats],
    rows: Batch,
    *,
    model: str,
    metric: tuple[str, Metric],
    alone: Mapping[str, Floats] = _NO_MODELS,
    resamples: int = 2000,
    seed: int = 0,
) -> Subsets:
    """Score a model on subsets of its modalities, each against all of them on the same rows.

    A row that lacks all modalities of a subset is predicted from nothing, and counts.

    Args:
        predict: Rows to predictions as the metric takes them; changes nothing.
        rows: Held-out rows with their target.
        model: Name for the result.
        metric: Name and metric.
        alone: Predictions on the same rows of models that were trained on one modality alone, by modality.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        DataError: the rows have no target.
    """
    name, score = metric
    target = known_target(rows)
    taken = subset_names(tuple(rows.inputs))
    draw = partial(scored, target=target, metric=score, resamples=resamples, seed=seed)
    drawn = draw(predict(_only(rows, subset)) for subset in taken)
    sign = score.better(1.0)
    beside = {
        modality: interval_of(sign * one)
        for modality, one in zip(alone, draw(alone.values()) if alone else (), strict=True)
    }
    lost = [interval_of(drawn[0] - one) for one in drawn[1:]]
    scores = tuple(
        SubsetScore(
            modalities=subset,
            score=interval_of(sign * one),
            drop=drop,
            alone=beside.get(subset[0]) if len(subset) == 1 else None,
        )
        for subset, one, drop in zip(taken, drawn, [Interval(mean=0.0), *lost], strict=True)
    )
    return Subsets(model=model, metric=name, scores=scores)


def _only(rows: Batch, subset: tuple[str, ...]) -> Batch:
    for modality in rows.inputs:
        if modality not in subset:
            rows = hide(rows, modality)
    return rows
