"""Intervals and tests over rows and training runs: a hierarchical bootstrap.

Two things vary where a comparison is repeated. *Rows*: other ones of the same kind are collected; resamples
of the rows show by how much a score then moves, the same rows for all models. *Runs*: a model is trained
again, from another seed or on other folds of the training rows. Few runs can't be resampled (of three, the
true mean lies outside their range one time in four), so their spread enters as a variance, as in Student's t.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fuseloom.comparison.evidence import Evidence, RunScores, resampled_scores
from fuseloom.metrics.interval import Interval
from fuseloom.metrics.regression import OfTarget, pearson, r2
from fuseloom.tasks import Metric

__all__ = ["ALPHA", "Estimate", "Statistics"]

Floats = NDArray[np.float64]

ALPHA = 0.025
"""Of a one-sided test: it rejects where a two-sided 95 % interval leaves the bound out."""
_NORMAL = 1.959964
"""Half the width of a 95 % interval in standard errors, were these known exactly."""
_UNSEEN = 1.5
"""Standard error, in rows, of a count that may have missed a rare row: N rows without an error leave a rate
of up to 3 / N (the rule of three), and 3 / N is two of these."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean with its standard errors to either side; higher is better."""

    mean: float
    below: float
    """Standard error towards lower values; NaN where nothing is known of it."""
    above: float
    degrees: float
    """Degrees of freedom of both."""

    def interval(self) -> Interval:
        """The two-sided 95 % interval; without limits where the mean or the errors are not finite.

        Example:
            >>> found = Estimate(mean=0.5, below=0.01, above=0.02, degrees=np.inf).interval()
            >>> round(found.low, 3), round(found.high, 3)
            (0.48, 0.539)
        """
        from scipy.stats import t

        if not np.isfinite([self.mean, self.below, self.above]).all():
            return Interval(mean=self.mean)
        wide = float(t.ppf(1 - ALPHA, self.degrees))
        return Interval(mean=self.mean, low=self.mean - wide * self.below, high=self.mean + wide * self.above)

    def p_below(self, bound: float) -> float:
        """P-value of the hypothesis that the truth is at or below a bound; 1 where nothing is known.

        Example:
            >>> round(Estimate(mean=0.5, below=0.1, above=0.1, degrees=np.inf).p_below(0.304), 3)
            0.025
        """
        from scipy.stats import t

        if not np.isfinite([self.mean, self.below]).all():
            return 1.0
        if self.below == 0:
            return float(self.mean <= bound)
        return float(t.sf((self.mean - bound) / self.below, self.degrees))


class Statistics:
    """Scores and differences of models on one split, with what is known of their errors.

    Rows vary, or groups of them, and training runs: seeds, and where folds share their rows the folds, which
    are then runs like seeds. Of training rows only as much varies as from fold to fold. A single run says
    nothing of other runs: its intervals are over rows alone.

    Args:
        evidence: Predictions and truth.
        metric: Scores them.
        resamples: Of the rows.

    Example:
        >>> from fuseloom.tasks.classification import Classification
        >>> right, wrong = np.eye(2)[[0, 1] * 200], np.eye(2)[[1, 0] * 200]
        >>> evidence = Evidence(
        ...     predictions={"one": [[right]], "other": [[wrong]]},
        ...     targets=[np.array([0, 1] * 200)],
        ...     units=[np.arange(400)],
        ... )
        >>> found = Statistics(evidence, Classification.metrics["accuracy"])
        >>> found.score("one").high, round(found.difference("one", "other").interval().low, 2)
        (1.0, 0.99)
    """

    def __init__(self, evidence: Evidence, metric: Metric, *, resamples: int = 500) -> None:
        self._metric = metric
        self._shared, self._units, self._rows = evidence.shared, evidence.num_units, evidence.num_rows
        self._counts = metric.bounded and not _is_smooth(metric)
        self._models = resampled_scores(evidence, metric, resamples=resamples)

    @property
    def num_rows(self) -> int:
        """Rows of the split."""
        return self._rows

    def runs(self, name: str) -> tuple[float, ...]:
        """Score of each run of a model in the metric's own direction: fold by fold, then seed by seed."""
        return tuple(self._metric.better(score) for score in self._models[name].found.reshape(-1).tolist())

    def score(self, name: str) -> Interval:
        """Mean score of a model over its runs, in the metric's own direction."""
        found = self._estimate(self._models[name].found, self._models[name].resampled, [self._models[name]])
        interval = found.interval()
        if interval.low is None or interval.high is None:
            return Interval(mean=self._metric.better(interval.mean))
        limits = [self._metric.better(limit) for limit in (interval.low, interval.high)]
        if self._counts:
            limits = [min(max(limit, 0.0), 1.0) for limit in limits]
        return Interval(mean=self._metric.better(interval.mean), low=min(limits), high=max(limits))

    def difference(self, one: str, other: str) -> Estimate:
        """How much better one model is than another, on the same rows; positive is better.

        Folds on the same rows are compared fold by fold, as they share their training rows too; seeds of
        different models have nothing in common.
        """
        first, second = self._models[one], self._models[other]
        found = first.found.mean(1, keepdims=True) - second.found.mean(1, keepdims=True)
        drawn = first.resampled.mean(2, keepdims=True) - second.resampled.mean(2, keepdims=True)
        paired = self._shared and len(found) > 1
        return self._estimate(
            found, drawn, [RunScores(found=found, resampled=drawn)] if paired else [first, second]
        )

    def _estimate(self, found: Floats, drawn: Floats, sources: Sequence[RunScores]) -> Estimate:
        """Put together what varies: rows, the runs of each source, and what so few rows cannot show."""
        with np.errstate(invalid="ignore", over="ignore"):
            mean = float(found.mean())
            means = drawn.mean((1, 2))
            parts = [part for source in sources for part in _run_variance(source, shared=self._shared)]
        defined = means[np.isfinite(means)]
        if 2 * len(defined) < len(means):
            return Estimate(mean=mean, below=np.nan, above=np.nan, degrees=np.inf)
        low, high = np.quantile(defined, [ALPHA, 1 - ALPHA])
        unseen = (_UNSEEN / self._units) ** 2 if self._counts else 0.0
        more = unseen + sum(part.known for part in parts)
        sides = [max(side, 0.0) / _NORMAL for side in (mean - low, high - mean)]
        rows = float(np.mean(np.square(sides)))
        return Estimate(
            mean=mean,
            below=float(np.sqrt(sides[0] ** 2 + more)),
            above=float(np.sqrt(sides[1] ** 2 + more)),
            degrees=_degrees(rows + more, [(rows, self._units - 1), *((p.raw, p.degrees) for p in parts)]),
        )


def _is_smooth(metric: Metric) -> bool:
    """Whether every row moves the score a little, so that no rare row can go unseen."""
    return isinstance(metric.function, OfTarget) or metric.function in (r2, pearson)


@dataclass(frozen=True, kw_only=True)
class _Runs:
    """Variance of a mean over runs."""

    known: float
    """Without what the draw of rows explains already."""
    raw: float
    degrees: int


def _run_variance(scores: RunScores, *, shared: bool) -> list[_Runs]:
    """Variance of the mean over runs: of folds on the same rows, otherwise of the seeds in each fold."""
    found, drawn = scores.found, scores.resampled
    if shared and len(found) > 1:
        found, drawn = found.mean(1, keepdims=True).T, drawn.mean(2, keepdims=True).swapaxes(1, 2)
    groups, count = found.shape
    if count < 2:
        return []
    spread = found - found.mean(1, keepdims=True)
    raw = np.square(spread).sum(1) / (count - 1)  # [groups]
    # Runs differ on the rows at hand also by chance. How much their differences move from resample to
    # resample is that part, and resampling the rows has counted it.
    moved = np.square(drawn - drawn.mean(2, keepdims=True) - spread).sum(2)  # [resamples, groups]
    defined = np.isfinite(moved)
    chance = np.where(defined, moved, 0.0).sum(0) / np.maximum(defined.sum(0), 1) / (count - 1)
    share = count * groups**2
    return [
        _Runs(
            known=float(np.maximum(raw - chance, 0.0).sum() / share),
            raw=float(raw.sum() / share),
            degrees=groups * (count - 1),
        )
    ]


def _degrees(variance: float, parts: Sequence[tuple[float, int]]) -> float:
    """Degrees of freedom of a sum of estimated variances, after Welch and Satterthwaite."""
    scatter = sum(part**2 / max(degrees, 1) for part, degrees in parts)
    return max(1.0, variance**2 / scatter) if scatter > 0 else float("inf")
