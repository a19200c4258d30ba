"""How good a model is with some of its modalities only: every subset, the others masked as absent."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.diagnose.reliance import hide
from fuseloom.metrics.resampled import resampled
from fuseloom.tasks import Metric
from fuseloom.types import Batch

__all__ = ["SubsetScore", "Subsets", "subset_names", "subsets"]

Floats = NDArray[np.floating[Any]]
Scores = NDArray[np.float64]

_MOST_CELLS = 2**22
_MOST_FOR_ALL = 6
_NO_MODELS: Mapping[str, Floats] = {}


@dataclass(frozen=True, kw_only=True)
class SubsetScore:
    """The score of a model that is given some of its modalities."""

    modalities: tuple[str, ...]
    score: float
    drop: float
    """Loss against all modalities in the units of the metric, positive where the score gets worse."""
    low: float | None = None
    high: float | None = None
    """95 % paired bootstrap interval of the drop over rows; None where no resample can be scored."""
    alone: float | None = None
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
    """
    name, score = metric
    assert rows.target is not None
    target = rows.target.cpu().numpy()
    taken = subset_names(tuple(rows.inputs))
    predictions = [predict(_only(rows, subset)) for subset in taken]
    reached = [score.function(guess, target) for guess in predictions]
    drops = _resampled_drops(predictions, target, score, resamples=resamples, seed=seed)
    ends = [(None, None), *map(_ends, drops[1:])]
    scores = tuple(
        SubsetScore(
            modalities=subset,
            score=one,
            drop=score.better(reached[0]) - score.better(one),
            low=low,
            high=high,
            alone=_alone(subset, alone, target, score),
        )
        for subset, one, (low, high) in zip(taken, reached, ends, strict=True)
    )
    return Subsets(model=model, metric=name, scores=scores)


def _resampled_drops(
    predictions: Sequence[Floats], target: NDArray[Any], metric: Metric, *, resamples: int, seed: int
) -> Scores:
    """What each prediction loses against the first on the same resamples, ``[S, R]``."""
    rows, generator = len(target), np.random.default_rng(seed)
    step = max(1, _MOST_CELLS // rows)  # a block at a time, so that memory stays small
    blocks = []
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        counts = generator.multinomial(rows, np.full(rows, 1 / rows), size=size)
        blocks.append([resampled(metric.function, guess, target, counts) for guess in predictions])
    scores = metric.better(1.0) * np.concatenate(blocks, axis=1)
    drops: Scores = scores[0] - scores
    return drops


def _only(rows: Batch, subset: tuple[str, ...]) -> Batch:
    for modality in rows.inputs:
        if modality not in subset:
            rows = hide(rows, modality)
    return rows


def _ends(drops: Scores) -> tuple[float | None, float | None]:
    defined = drops[np.isfinite(drops)]
    if len(defined) == 0:
        return None, None
    low, high = np.quantile(defined, [0.025, 0.975])
    return float(low), float(high)


def _alone(
    subset: tuple[str, ...], alone: Mapping[str, Floats], target: NDArray[Any], metric: Metric
) -> float | None:
    known = len(subset) == 1 and subset[0] in alone
    return metric.function(alone[subset[0]], target) if known else None
