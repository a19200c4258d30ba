"""The recommendation: the simplest model that is as good as the best, and whether fusing pays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fuseloom.comparison.result import Entry, Interval, Recommendation
from fuseloom.comparison.statistics import Scored, Targets, difference_interval, resampled_scores
from fuseloom.tasks import Metric

__all__ = ["Evidence", "decide", "ranking"]

Verdict = Literal["fusing pays", "fusing does not pay", "these data cannot tell"]
_ORDER = ("none", "additive", "multiplicative", "nonlinear")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Predictions of every trained model on one split of each fold, and the truth."""

    predictions: Mapping[str, Scored]
    targets: Targets


def decide(
    entries: Sequence[Entry], valid: Evidence, test: Evidence, metric: tuple[str, Metric], margin: float
) -> Recommendation:
    """Choose on validation data, then price on test data.

    A model counts as good as the best if its validation score is within ``margin`` of it, or within one
    standard error of their paired difference, whichever is larger. Among those the one of the lowest order of
    interaction is recommended, then the one with the fewest parameters.

    Args:
        entries: Trained models, baselines left out.
        valid: Their predictions on validation rows.
        test: Their predictions on test rows.
        metric: Name and metric.
        margin: In units of the metric, or a share of the best score where the metric has no bound.
    """
    name, score = metric
    ranked = ranking(entries, score)
    allowed = margin if score.bounded else margin * abs(ranked[0].valid.mean)
    drawn = resampled_scores(valid.predictions, valid.targets, score)
    equals = [entry for entry in ranked if _as_good(entry, ranked[0], drawn, score, allowed)]
    chosen = min(equals, key=lambda entry: (_ORDER.index(entry.interaction), entry.parameters))
    alone = next(entry for entry in ranked if entry.role == "unimodal")
    fused = next(entry for entry in ranked if entry.role == "fusion")
    gain = difference_interval(
        test.predictions[fused.name], test.predictions[alone.name], test.targets, score
    )
    verdict = _verdict(gain, allowed)
    found = _Found(
        chosen=chosen,
        alone=alone,
        fused=fused,
        gain=gain,
        verdict=verdict,
        metric=name,
        higher_is_better=score.higher_is_better,
        margin=allowed,
        num_test=sum(map(len, test.targets)),
    )
    return Recommendation(
        name=chosen.name,
        sentence=_sentence(found),
        verdict=verdict,
        margin=allowed,
        best_unimodal=alone.name,
        best_fusion=fused.name,
        gain=gain,
    )


@dataclass(frozen=True, kw_only=True)
class _Found:
    """All that the sentence speaks of."""

    chosen: Entry
    alone: Entry
    fused: Entry
    gain: Interval
    verdict: Verdict
    metric: str
    higher_is_better: bool
    margin: float
    num_test: int


def ranking(entries: Sequence[Entry], metric: Metric) -> list[Entry]:
    """Best validation score first; undefined ones last."""

    def place(entry: Entry) -> float:
        score = metric.better(entry.valid.mean)
        return -score if np.isfinite(score) else np.inf

    return sorted(entries, key=place)


def _as_good(
    entry: Entry, best: Entry, drawn: Mapping[str, NDArray[np.float64]], metric: Metric, margin: float
) -> bool:
    behind = metric.better(best.valid.mean) - metric.better(entry.valid.mean)
    if behind <= margin:
        return True
    differences = drawn[best.name] - drawn[entry.name]
    defined = differences[np.isfinite(differences)]
    return bool(len(defined) and behind <= np.std(defined))


def _verdict(gain: Interval, margin: float) -> Verdict:
    if gain.low is None or gain.high is None:
        return "these data cannot tell"
    if gain.high < margin:  # even a gain that is certain may be too small to matter
        return "fusing does not pay"
    return "fusing pays" if gain.low > 0 else "these data cannot tell"


def _sentence(found: "_Found") -> str:
    chosen, alone, fused = found.chosen, found.alone, found.fused
    priced = f"{_number(chosen.test.mean)} {found.metric} on test data"
    against = f"{fused.name} against {alone.name} alone: {_gain(found)}"
    if chosen.role == "unimodal":
        return f"Use {chosen.name} alone ({priced}): {_others(found, against)}."
    equal = "" if chosen is fused else f", on validation data as good as {fused.name} and simpler"
    ends = {
        "fusing pays": f"fusing pays ({against}).",
        "fusing does not pay": f"on test data fusing gains nothing ({against}): {alone.name} would do.",
        "these data cannot tell": f"whether it beats {alone.name} alone these data cannot tell ({against}).",
    }
    return f"Use {chosen.name} on {_listed(chosen.modalities)} ({priced}){equal}: {ends[found.verdict]}"


def _others(found: "_Found", against: str) -> str:
    """What the modalities that are left out would have added."""
    if found.verdict == "fusing pays":
        return (
            f"on validation data no fusion beats it by more than the margin, yet on test data fusing gains "
            f"({against}); more validation data would settle it"
        )
    others = [name for name in found.fused.modalities if name not in found.chosen.modalities]
    adds = "adds" if len(others) == 1 else "add"
    wide = found.gain.high is not None and found.gain.high >= 2 * found.margin
    doubt = f"; {found.num_test} test rows cannot rule out a gain" if wide else ""
    return f"{_listed(others)} {adds} nothing measurable ({against}){doubt}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"


def _gain(found: "_Found") -> str:
    gain, metric = found.gain, found.metric
    much = f"{gain.mean:+.3f} {metric}" if found.higher_is_better else f"{metric} lower by {gain.mean:+.3f}"
    if gain.low is None or gain.high is None:
        return much
    return f"{much}, 95 % interval {gain.low:+.3f} to {gain.high:+.3f}"
