"""A metric on many resamples of the same rows at once, as the bootstrap needs it.

A resample is how often each row was drawn, so that most metrics are a few matrix products over all resamples.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fuseloom.metrics import multilabel
from fuseloom.metrics.classification import (
    accuracy,
    auc,
    balanced_accuracy,
    log_loss,
    macro_f1,
    true_class_loss,
    weighted_f1,
)
from fuseloom.metrics.counted import OfCounts
from fuseloom.metrics.regression import OfTarget, mae, pearson, r2, rmse

__all__ = ["resampled"]

Floats = NDArray[np.floating[Any]]
Scores = NDArray[np.float64]
C = TypeVar("C", bound=np.generic)
Form = Callable[[Floats, NDArray[Any], NDArray[C]], Scores]
"""Scores ``[R]`` of predictions and target on the rows that each resample draws, ``[R, N]``."""


def resampled(
    metric: Callable[[Floats, NDArray[Any]], float],
    predictions: Floats,
    target: NDArray[Any],
    counts: NDArray[np.integer[Any]],
) -> Scores:
    """The metric on each resample ``[R]``.

    Args:
        metric: Any function of predictions and target; one that is not of this package is called ``R`` times.
        predictions: ``[N, K]`` or ``[N]``.
        target: ``[N]``, or ``[N, K]`` of several.
        counts: How often each row was drawn, ``[R, N]``.

    Example:
        >>> predictions, target = np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 5.0])
        >>> resampled(mae, predictions, target, np.array([[1, 1, 1], [0, 1, 2], [3, 0, 0]])).tolist()
        [1.0, 2.0, 0.0]
    """
    if isinstance(metric, OfTarget):
        return _of_target(predictions, target, counts, metric.place, partial(resampled, metric.metric))
    if isinstance(metric, OfCounts):
        return metric.score(counts.astype(np.float64) @ metric.count(predictions, target))
    form = _FORMS.get(metric)
    if form is not None:
        with np.errstate(invalid="ignore", divide="ignore"):
            return form(predictions, target, counts.astype(np.float64))
    rows = [np.repeat(np.arange(len(target)), drawn) for drawn in counts]
    return np.array([metric(predictions[drawn], target[drawn]) for drawn in rows])


def _of_target(predictions: Floats, target: Floats, counts: NDArray[C], place: int, score: Form[C]) -> Scores:
    """Scores of one of several targets on the rows where it is known; NaN where none of them is drawn."""
    known = ~np.isnan(target[:, place])
    drawn = counts[:, known].any(-1)
    scores = np.full(len(counts), np.nan)
    if drawn.any():
        rows = counts[drawn][:, known]
        scores[drawn] = score(predictions[known, place], target[known, place], rows)
    return scores


def _over_targets(one: Form[np.float64]) -> Form[np.float64]:
    """The form of a metric that of several targets is the mean over them, from that of one."""

    def form(predictions: Floats, target: NDArray[Any], counts: Scores) -> Scores:
        if target.ndim == 1:
            return one(predictions, target, counts)
        each = [_of_target(predictions, target, counts, k, one) for k in range(target.shape[1])]
        means: Scores = np.mean(each, axis=0)
        return means

    return form


def _mean(values: Floats, counts: Scores) -> Scores:
    means: Scores = counts @ values / counts.sum(-1)
    return means


def _accuracy(predictions: Floats, target: NDArray[Any], counts: Scores) -> Scores:
    return _mean((predictions.argmax(-1) == target).astype(np.float64), counts)


def _log_loss(predictions: Floats, target: NDArray[Any], counts: Scores) -> Scores:
    return _mean(true_class_loss(predictions, target), counts)


def _mae(predictions: Floats, target: NDArray[Any], counts: Scores) -> Scores:
    return _mean(np.abs(target - predictions), counts)


def _rmse(predictions: Floats, target: NDArray[Any], counts: Scores) -> Scores:
    return np.sqrt(_mean(np.square(target - predictions), counts))


def _r2(predictions: Floats, target: NDArray[Any], counts: Scores) -> Scores:
    variance = _covariance(target, target, counts)
    return np.where(variance > 0, 1 - _mean(np.square(target - predictions), counts) / variance, np.nan)


def _pearson(predictions: Floats, target: NDArray[Any], counts: Scores) -> Scores:
    spread = _covariance(predictions, predictions, counts) * _covariance(target, target, counts)
    return np.where(spread > 0, _covariance(predictions, target, counts) / np.sqrt(spread), np.nan)


def _covariance(one: Floats, other: Floats, counts: Scores) -> Scores:
    # Centred once for all resamples, which keeps the digits of values that lie far from zero.
    one, other = one - one.mean(), other - other.mean()
    covariance: Scores = _mean(one * other, counts) - _mean(one, counts) * _mean(other, counts)
    return np.where(_constant(one, counts) | _constant(other, counts), 0.0, covariance)


def _constant(values: Floats, counts: Scores) -> NDArray[np.bool_]:
    """Whether each resample holds one value only, which rounding hides from a variance."""
    first = values[(counts > 0).argmax(-1)]
    same: NDArray[np.bool_] = ((counts == 0) | (values == first[:, None])).all(-1)
    return same


def _auc(predictions: Floats, target: NDArray[Any], counts: Scores) -> Scores:
    classes = [1] if predictions.shape[1] == 2 else range(predictions.shape[1])
    of_rows = np.ascontiguousarray(counts.T)  # rows are what is sorted
    return _mean_defined([_area(predictions[:, k], target == k, of_rows) for k in classes])


def _mean_defined(scores: list[Scores]) -> Scores:
    """Mean over the classes that can be scored, of scores ``[R]`` for each."""
    stacked = np.stack(scores)
    scored = np.isfinite(stacked)
    means: Scores = np.where(scored, stacked, 0.0).sum(0) / scored.sum(0)
    return means


def _area(score: Floats, positive: NDArray[np.bool_], counts: Scores) -> Scores:
    """Area under the ROC curve for counts ``[N, R]``; NaN for a resample without a row of both kinds."""
    order = np.argsort(score, kind="stable")
    drawn, rank = counts[order], score[order]
    wins = drawn * positive[order, None]
    losses = drawn - wins
    ties = np.flatnonzero(np.diff(rank, prepend=np.nan) != 0)
    if len(ties) < len(rank):
        wins, losses = np.add.reduceat(wins, ties), np.add.reduceat(losses, ties)
    below = np.cumsum(losses, axis=0) - losses / 2
    area: Scores = np.einsum("nr,nr->r", wins, below) / (wins.sum(0) * losses.sum(0))
    return area


ByClass = tuple[Scores, Scores, Scores]
"""Rows recognised, rows in the target and rows predicted, of each class ``[R, K]``."""


def _by_class(predictions: Floats, target: NDArray[Any], counts: Scores) -> ByClass:
    classes = np.arange(predictions.shape[1])
    return _counted(predictions.argmax(-1)[:, None] == classes, target[:, None] == classes, counts)


def _by_label(predictions: Floats, target: NDArray[Any], counts: Scores) -> ByClass:
    return _counted(predictions >= 0.5, target > 0, counts)


def _counted(chosen: NDArray[np.bool_], true: NDArray[np.bool_], counts: Scores) -> ByClass:
    hits, there, predicted = (counts @ one.astype(np.float64) for one in (true & chosen, true, chosen))
    return hits, there, predicted


def _balanced_accuracy(predictions: Floats, target: NDArray[Any], counts: Scores) -> Scores:
    hits, there, _ = _by_class(predictions, target, counts)
    recalls: Scores = np.where(there > 0, hits / there, 0.0).sum(-1) / (there > 0).sum(-1)
    return recalls


def _macro_f1(count: Callable[[Floats, NDArray[Any], Scores], ByClass]) -> Form[np.float64]:
    def form(predictions: Floats, target: NDArray[Any], counts: Scores) -> Scores:
        hits, there, predicted = count(predictions, target, counts)
        either = there + predicted
        scores: Scores = np.where(either > 0, 2 * hits / either, 0.0).sum(-1) / (either > 0).sum(-1)
        return scores

    return form


def _weighted_f1(count: Callable[[Floats, NDArray[Any], Scores], ByClass]) -> Form[np.float64]:
    def form(predictions: Floats, target: NDArray[Any], counts: Scores) -> Scores:
        hits, there, predicted = count(predictions, target, counts)
        weighted = np.where(there > 0, there * 2 * hits / (there + predicted), 0.0)
        scores: Scores = weighted.sum(-1) / there.sum(-1)
        return scores

    return form


def _micro_f1(predictions: Floats, target: NDArray[Any], counts: Scores) -> Scores:
    hits, there, predicted = _by_label(predictions, target, counts)
    scores: Scores = 2 * hits.sum(-1) / (there + predicted).sum(-1)
    return scores


def _of_rows(function: Callable[[Floats, NDArray[Any]], Scores]) -> Form[np.float64]:
    """A metric that is the mean of a score of each row."""
    return lambda predictions, target, counts: _mean(function(predictions, target), counts)


def _label_auc(predictions: Floats, target: NDArray[Any], counts: Scores) -> Scores:
    of_rows = np.ascontiguousarray(counts.T)
    pairs = zip(predictions.T, target.T > 0, strict=True)
    return _mean_defined([_area(score, positive, of_rows) for score, positive in pairs])


def _average_precisions(predictions: Floats, target: NDArray[Any], counts: Scores) -> Scores:
    of_rows = np.ascontiguousarray(counts.T)
    pairs = zip(predictions.T, target.T > 0, strict=True)
    return _mean_defined([_average_precision(score, positive, of_rows) for score, positive in pairs])


def _average_precision(score: Floats, positive: NDArray[np.bool_], counts: Scores) -> Scores:
    """Average precision for counts ``[N, R]``; NaN for a resample without a row of the class."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)  # of rows that share a score
    drawn = counts[order]
    hits = np.cumsum(drawn * positive[order, None], axis=0)[last]
    rows = np.cumsum(drawn, axis=0)[last]
    precisions: Scores = (np.diff(hits, axis=0, prepend=0) * hits / np.maximum(rows, 1)).sum(0) / hits[-1]
    return precisions


_FORMS: Mapping[Callable[..., float], Form[np.float64]] = {
    accuracy: _accuracy,
    balanced_accuracy: _balanced_accuracy,
    macro_f1: _macro_f1(_by_class),
    weighted_f1: _weighted_f1(_by_class),
    auc: _auc,
    log_loss: _log_loss,
    r2: _over_targets(_r2),
    rmse: _over_targets(_rmse),
    mae: _over_targets(_mae),
    pearson: _over_targets(_pearson),
    multilabel.macro_f1: _macro_f1(_by_label),
    multilabel.weighted_f1: _weighted_f1(_by_label),
    multilabel.micro_f1: _micro_f1,
    multilabel.sample_f1: _of_rows(multilabel.row_f1),
    multilabel.exact_match: _of_rows(lambda p, t: ((p >= 0.5) == (t > 0)).all(-1).astype(np.float64)),
    multilabel.hamming_loss: _of_rows(lambda p, t: ((p >= 0.5) != (t > 0)).mean(-1)),
    multilabel.log_loss: _of_rows(lambda p, t: multilabel.cell_loss(p, t).mean(-1)),
    multilabel.auc: _label_auc,
    multilabel.mean_average_precision: _average_precisions,
}
