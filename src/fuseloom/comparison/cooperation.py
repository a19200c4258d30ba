"""Whether remedies for neglected modalities help, and how modalities work together before and after."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from fuseloom.comparison.diagnosis import DIAGNOSES, Subject, some_rows
from fuseloom.comparison.evidence import Evidence
from fuseloom.comparison.prepare import Prepared
from fuseloom.comparison.statistics import ALPHA, Statistics
from fuseloom.comparison.training import Trained
from fuseloom.diagnose.attention import Attention, AttentionQuality
from fuseloom.diagnose.gradients import GradientCourse
from fuseloom.diagnose.robustness import Robustness
from fuseloom.errors import FuseloomError
from fuseloom.metrics.correction import holm
from fuseloom.metrics.interval import Interval
from fuseloom.tasks import Metric

__all__ = ["Cooperation", "NoiseCurve", "Treatment", "Verdict", "cooperation", "treated_runs"]

Verdict = Literal["helps", "harms", "these data cannot tell", "untreated"]
"""Of a remedy: by the difference to the same fusion without it, corrected for all that were tried (Holm)."""
_RESAMPLES = 2000
_MOST_NAMED = 4
_LOOKS = ("gradients", "attention", "attention_quality", "robustness")


@dataclass(frozen=True, kw_only=True)
class NoiseCurve:
    """Scores while one modality gets worse."""

    modality: str
    corruption: str
    severities: tuple[float, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Treatment:
    """A fusion as a remedy trained it, or without one."""

    name: str
    fusion: str
    remedy: str
    """Empty without one."""
    learning_rate: float
    valid: Interval
    test: Interval
    gain: Interval | None
    """Test score less that of the fusion without a remedy, positive where it is better; None of that itself.
    Before any correction."""
    verdict: Verdict
    train_s: float
    """Median seconds of one training run."""
    imbalance: tuple[float, ...]
    """The imbalance rate (AIR) after each epoch of the last seed's run on the first fold; empty without
    attention."""
    imbalance_rate: Interval | None
    """Of the trained model on test rows."""
    mass: dict[str, Interval]
    """Modality -> share of the attention that is on it; empty without attention."""
    quality: dict[str, Interval]
    """Modality -> correlation of that share with how good the modality is, row by row."""
    gradient_share: dict[str, Interval]
    """Modality -> share of the encoders' gradient; empty where it cannot be told."""
    noise: tuple[NoiseCurve, ...]
    """Each modality alone getting worse, by the first corruption of its kind."""
    not_told: dict[str, str] = field(default_factory=dict)
    """What could not be looked at -> why."""


@dataclass(frozen=True, kw_only=True)
class Cooperation:
    """What remedies do to fusions; each fusion without a remedy stands before its treatments."""

    sentence: str
    """The answer in plain words."""
    treatments: tuple[Treatment, ...]


def treated_runs(trained: Sequence[Trained]) -> list[list[Trained]]:
    """For each fusion that remedies train its runs without one, and then those with each."""
    plain = {run.candidate.model.fusion: run for run in trained if run.candidate.role == "fusion"}
    groups: dict[str, list[Trained]] = {}
    for run in trained:
        fusion = run.candidate.model.fusion
        if (
            run.candidate.role == "remedy" and fusion in plain
        ):  # of a comparison that was stopped it may not be
            groups.setdefault(fusion, [plain[fusion]]).append(run)
    return list(groups.values())


def cooperation(
    groups: Sequence[Sequence[Trained]],
    evidence: Mapping[str, Evidence],
    ready: Prepared,
    metric: tuple[str, Metric],
    load: Callable[[Trained], Any],
) -> Cooperation | None:
    """Hold each remedy against the same fusion without it.

    Args:
        groups: From `treated_runs`.
        evidence: Split -> predictions of all of these.
        ready: The first fold, on whose test rows the best run of each is looked at.
        metric: Name and metric.
        load: Gives the model of a best run.

    Returns:
        None without remedies.
    """
    if not groups:
        return None
    scores = {s: Statistics(part, metric[1], resamples=_RESAMPLES) for s, part in evidence.items()}
    treatments: list[Treatment] = []
    for group in groups:
        gains, verdicts = _against(group, scores["test"])
        for run in group:
            name = run.candidate.name
            treatments.append(
                Treatment(
                    name=name,
                    fusion=run.candidate.model.fusion,
                    remedy=run.candidate.model.remedy,
                    learning_rate=run.learning_rate,
                    valid=scores["valid"].score(name),
                    test=scores["test"].score(name),
                    gain=gains.get(name),
                    verdict=verdicts.get(name, "untreated"),
                    train_s=float(np.median(run.train_s)),
                    imbalance=run.imbalance[0][-1],
                    **_looked_at(run, ready, metric, load(run)),
                )
            )
    return Cooperation(sentence=_sentence(treatments), treatments=tuple(treatments))


def _against(group: Sequence[Trained], scores: Statistics) -> tuple[dict[str, Interval], dict[str, Verdict]]:
    """Gain and verdict of each treated run of a group whose first is without a remedy."""
    plain, *treated = (run.candidate.name for run in group)
    gains = [scores.difference(name, plain) for name in treated]
    losses = [scores.difference(plain, name) for name in treated]
    helps, harms = (holm([one.p_below(0.0) for one in side]) for side in (gains, losses))
    verdicts = [_verdict(p, q) for p, q in zip(helps, harms, strict=True)]
    intervals = [gain.interval() for gain in gains]
    return dict(zip(treated, intervals, strict=True)), dict(zip(treated, verdicts, strict=True))


def _verdict(helps: float, harms: float) -> Verdict:
    if helps <= ALPHA:
        return "helps"
    return "harms" if harms <= ALPHA else "these data cannot tell"


def _looked_at(run: Trained, ready: Prepared, metric: tuple[str, Metric], model: Any) -> dict[str, Any]:
    """What a trained model shows of the cooperation of its modalities, as far as it can."""
    rows = ready.rows.take("test", run.candidate.modalities)
    subject = Subject(
        name=run.candidate.name, model=model, task=ready.task, metric=metric, rows=rows.take(some_rows(rows))
    )
    found: dict[str, Any] = {}
    not_told: dict[str, str] = {}
    for look in _LOOKS:
        try:
            found[look] = DIAGNOSES[look](subject)
        except FuseloomError as error:
            not_told[look] = str(error)
    return {
        **_attended(found),
        **_learnt(found),
        "noise": _noise(found.get("robustness")),
        "not_told": not_told,
    }


def _attended(found: Mapping[str, Any]) -> dict[str, Any]:
    attention: Attention | None = found.get("attention")
    quality: Sequence[AttentionQuality] = found.get("attention_quality", ())
    if attention is None:
        return {"imbalance_rate": None, "mass": {}, "quality": {}}
    layer = attention.layers[-1]
    heads = [head.mass for head in layer.heads]
    return {
        "imbalance_rate": layer.imbalance_rate,
        "mass": {name: _mean([mass[name] for mass in heads]) for name in heads[0]},
        "quality": {
            one.modality: one.correlations[layer.name] for one in quality if layer.name in one.correlations
        },
    }


def _mean(intervals: Sequence[Interval]) -> Interval:
    """Of one head it is that; of several heads, which share their rows, the mean alone."""
    return intervals[0] if len(intervals) == 1 else Interval(mean=float(np.mean([i.mean for i in intervals])))


def _learnt(found: Mapping[str, Any]) -> dict[str, Any]:
    course: GradientCourse | None = found.get("gradients")
    return {"gradient_share": course.gradients[-1].shares if course is not None else {}}


def _noise(robustness: Robustness | None) -> tuple[NoiseCurve, ...]:
    if robustness is None:
        return ()
    first: dict[str, NoiseCurve] = {}
    for curve in robustness.curves:
        if len(curve.modalities) == 1:
            (name,) = curve.modalities
            scores = tuple(score.mean for score in curve.scores)
            known = NoiseCurve(
                modality=name, corruption=curve.corruption, severities=curve.severities, scores=scores
            )
            first.setdefault(name, known)
    return tuple(first.values())


def _sentence(treatments: Sequence[Treatment]) -> str:
    tried = [one for one in treatments if one.remedy]
    remedies, fusions = dict.fromkeys(one.remedy for one in tried), dict.fromkeys(one.fusion for one in tried)
    were = "was" if len(remedies) == 1 else "were"
    parts = [f"{_listed(remedies, 'remedies')} {were} tried on {_listed(fusions, 'fusions')}."]
    for verdict, verb in (("helps", "help"), ("harms", "harm")):
        named = [f"{one.name} ({_signed(one.gain)})" for one in tried if one.verdict == verdict]
        if named:
            parts.append(f"{', '.join(named)}: {verb}{'s' if len(named) == 1 else ''}.")
    open_ones = sum(one.verdict == "these data cannot tell" for one in tried)
    if open_ones == len(tried):
        parts.append("These data show of none that it helps or harms.")
    elif open_ones:
        parts.append(f"Of the other {open_ones} these data cannot tell.")
    return " ".join(parts)


def _listed(names: Iterable[str], what: str) -> str:
    known = list(names)
    if len(known) > _MOST_NAMED:
        return f"{len(known)} {what}"
    return known[0] if len(known) == 1 else f"{', '.join(known[:-1])} and {known[-1]}"


def _signed(gain: Interval | None) -> str:
    assert gain is not None
    if gain.low is None or gain.high is None:
        return f"{gain.mean:+.3f}"
    return f"{gain.mean:+.3f}, {gain.low:+.3f} to {gain.high:+.3f}"
