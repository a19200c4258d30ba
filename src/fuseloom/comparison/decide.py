"""The recommendation: the simplest model that is as good as the best, and whether fusing pays."""

from collections.abc import Sequence

import numpy as np

from fuseloom.comparison.evidence import Evidence
from fuseloom.comparison.result import Contender, Entry, Recommendation, Verdict
from fuseloom.comparison.sentence import Answered, sentence
from fuseloom.comparison.statistics import ALPHA, Statistics
from fuseloom.metrics.correction import holm
from fuseloom.metrics.interval import Interval
from fuseloom.tasks import Metric

__all__ = ["decide", "ranking", "rows_to_settle"]

_ORDER = ("none", "additive", "multiplicative", "nonlinear")
_MOST_ROWS = 10_000_000
_RESAMPLES = 2000
"""Of the two models that decide the verdict; they are few, so that more can be afforded."""


def decide(
    entries: Sequence[Entry], valid: Statistics, test: Evidence, metric: tuple[str, Metric], margin: float
) -> Recommendation:
    """Choose on validation data, then price on test data.

    A model is as good as the best if it is not inferior to it: the 95 % interval of its validation score
    minus that of the best lies above ``-margin``, after Holm's correction for all models that are tested.
    Among those and the best itself the one of the lowest order of interaction is recommended, then the one
    with the fewest parameters. The best was chosen on the same rows, which flatters it, so that the test errs
    towards keeping it. With few rows nothing can be shown to be as good: the best is then recommended, and
    the sentence says which simpler model these rows cannot tell from it.

    Fusing pays if the 95 % interval of the gain of the best fusion over the best single modality, both chosen
    on validation data and scored on test data, lies above zero. It does not pay if the interval ends below
    ``margin``. Otherwise these data cannot tell.

    Args:
        entries: Trained models, baselines left out.
        valid: What is known of their validation scores.
        test: Their predictions on test rows.
        metric: Name and metric.
        margin: In units of the metric, or a share of the best score where the metric has no bound.
    """
    name, score = metric
    ranked = ranking(entries, score)
    allowed = margin if score.bounded else margin * abs(ranked[0].valid.mean)
    contenders = _contenders(ranked, valid, allowed)
    equal = {contender.name for contender in contenders if contender.as_good}
    chosen = min((entry for entry in ranked if entry.name in equal | {ranked[0].name}), key=_complexity)
    alone = next(entry for entry in ranked if entry.role == "unimodal")
    fused = next(entry for entry in ranked if entry.role == "fusion")
    tested = Statistics(test.only(alone.name, fused.name), score, resamples=_RESAMPLES)
    gain = tested.difference(fused.name, alone.name).interval()
    verdict = _verdict(gain, allowed)
    undecided = verdict == "these data cannot tell"
    needed = rows_to_settle(gain, tested.num_rows, bounds=(0.0, allowed)) if undecided else None
    answered = Answered(
        chosen=chosen,
        best=ranked[0],
        alone=alone,
        fused=fused,
        rivals=_rivals(contenders, ranked, allowed) if chosen is ranked[0] else (),
        gain=gain,
        verdict=verdict,
        rows_needed=needed,
        metric=name,
        higher_is_better=score.higher_is_better,
        margin=allowed,
        num_valid=valid.num_rows,
        num_test=tested.num_rows,
    )
    return Recommendation(
        name=chosen.name,
        sentence=sentence(answered),
        verdict=verdict,
        margin=allowed,
        best_unimodal=alone.name,
        best_fusion=fused.name,
        gain=gain,
        rows_needed=needed,
        contenders=tuple(contenders),
    )


def ranking(entries: Sequence[Entry], metric: Metric) -> list[Entry]:
    """Best validation score first; undefined ones last."""

    def place(entry: Entry) -> float:
        score = metric.better(entry.valid.mean)
        return -score if np.isfinite(score) else np.inf

    return sorted(entries, key=place)


def _complexity(entry: Entry) -> tuple[int, int]:
    return _ORDER.index(entry.interaction), entry.parameters


def _contenders(ranked: Sequence[Entry], valid: Statistics, margin: float) -> list[Contender]:
    """Every other model against the best."""
    best, *others = ranked
    behind = [valid.difference(other.name, best.name) for other in others]
    p_values = holm([estimate.p_below(-margin) for estimate in behind])
    return [
        Contender(name=other.name, behind=estimate.interval(), p_value=p_value, as_good=p_value <= ALPHA)
        for other, estimate, p_value in zip(others, behind, p_values, strict=True)
    ]


def _rivals(contenders: Sequence[Contender], ranked: Sequence[Entry], margin: float) -> tuple[str, ...]:
    """Models simpler than the best that the rows can neither show to be as good nor to be worse."""
    simpler = {entry.name for entry in ranked if _complexity(entry) < _complexity(ranked[0])}
    return tuple(
        contender.name
        for contender in contenders
        if contender.name in simpler and contender.behind.high is not None and contender.behind.high > -margin
    )


def _verdict(gain: Interval, margin: float) -> Verdict:
    if gain.low is None or gain.high is None:
        return "these data cannot tell"
    if gain.high < margin:  # even a gain that is certain may be too small to matter
        return "fusing does not pay"
    return "fusing pays" if gain.low > 0 else "these data cannot tell"


def rows_to_settle(gain: Interval, rows: int, *, bounds: tuple[float, float]) -> int | None:
    """About how many rows would put an interval above the first bound, or below the second.

    Its width shrinks with the square root of the number of rows, and its mean is taken to stay. None where
    that would need more than ten million, as the mean lies too near to a bound.

    Args:
        gain: The interval at hand.
        rows: How many it is from.
        bounds: What it has to lie above, or below.

    Example:
        >>> gain = Interval(mean=0.02, low=-0.02, high=0.06)
        >>> rows_to_settle(gain, 500, bounds=(0.0, 0.01))
        2000
    """
    if gain.low is None or gain.high is None:
        return None
    sides = ((gain.mean - bounds[0], gain.mean - gain.low), (bounds[1] - gain.mean, gain.high - gain.mean))
    shares = [width / distance for distance, width in sides if distance > 0]
    needed = rows * min(shares, default=np.inf) ** 2
    if not needed <= _MOST_ROWS:
        return None
    unit = 10 ** int(np.floor(np.log10(max(needed, 1.0))))
    rounded = round(needed / unit) * unit
    return int(rounded if rounded > rows else np.ceil(needed / unit) * unit)
