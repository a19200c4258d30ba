"""What would break a model: its score while modalities get noisier, blurred, shortened or go missing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise, product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fuseloom.diagnose.corruptions import CORRUPTIONS, Corruption, corrupt, missing, stream_kind
from fuseloom.diagnose.resampling import interval_of, known_target, scored
from fuseloom.errors import OptionError
from fuseloom.metrics.interval import Interval
from fuseloom.metrics.robustness import effective_robustness, relative_robustness
from fuseloom.tasks import Metric
from fuseloom.types import Batch

__all__ = ["SEVERITIES", "Robustness", "RobustnessCurve", "RobustnessPlan", "best_constant", "robustness"]

Floats = NDArray[np.floating[Any]]
Scores = NDArray[np.float64]
Damage = Mapping[str, tuple[str, Corruption]]
"""Modality -> name of a corruption and the corruption."""

SEVERITIES = tuple(step / 10 for step in range(10))
"""MultiBench's: 0, 0.1, ..., 0.9."""


@dataclass(frozen=True, kw_only=True)
class RobustnessPlan:
    """How a model is tried.

    Args:
        severities: From 0, rising, to at most 1.
        corruptions: Modality -> name -> corruption, where those of `CORRUPTIONS` that fit its type and shape
            are not what is wanted; a waveform without a mask is told by ``CORRUPTIONS["waveform"]``.
        resamples: Of the bootstrap over rows.
        seed: Of corruptions and bootstrap.

    Raises:
        OptionError: severities that do not rise from 0 to at most 1.
    """

    severities: tuple[float, ...] = SEVERITIES
    corruptions: Mapping[str, Mapping[str, Corruption]] = field(default_factory=dict)
    resamples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        levels = self.severities
        rising = all(low < high for low, high in pairwise(levels))
        if len(levels) < 2 or levels[0] != 0 or levels[-1] > 1 or not rising:
            raise OptionError(f"severities must rise from 0 to at most 1, got {levels}.")


_PLAN = RobustnessPlan()


@dataclass(frozen=True, kw_only=True)
class RobustnessCurve:
    """The score of a model under one corruption of one modality, or of all at once."""

    modalities: tuple[str, ...]
    """Which are corrupted together."""
    corruption: str
    """Its name; names joined by `` + `` where modalities of different kinds are corrupted together."""
    severities: tuple[float, ...]
    """From 0, not corrupted, to at most 1; what it means is said by the function in `corruptions`."""
    scores: tuple[Interval, ...]
    """In the units of the metric, at each severity."""
    drops: tuple[Interval, ...]
    """Loss against severity 0 in the units of the metric, positive where it is worse; paired bootstrap."""
    relative: Interval
    """MultiBench's relative robustness: area under the curve, score times severity."""
    effective: Interval | None
    """MultiBench's effective robustness: sum over severities of what is kept beyond the reference moved to
    the same start, positive where it is better; None without a reference."""
    collapse: float | None
    """The first severity at which the model is no better than the best constant: the 95 % interval of the
    difference reaches 0. None where it stays better, or no constant can be scored."""
    half: float | None
    """The first severity at which half of what the model gains over the best constant is lost, or more."""


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """How the score of a model on held-out rows holds while its inputs get worse."""

    model: str
    metric: str
    score: Interval
    """Without corruption."""
    constant: Interval | None
    """The score of the best constant prediction for these rows; None where the metric has none."""
    curves: tuple[RobustnessCurve, ...]
    """Each modality alone, corruption by corruption, then all at once."""


def robustness(
    predict: Callable[[Batch], Floats],
    rows: Batch,
    *,
    model: str,
    metric: tuple[str, Metric],
    reference: Callable[[Batch], Floats] | None = None,
    plan: RobustnessPlan = _PLAN,
) -> Robustness:
    """Score a model while each modality, and all at once, get worse in all ways that fit their kind.

    All severities of a curve share their random draws, so that damage grows and does not jump.

    Args:
        predict: Rows to predictions as the metric takes them; changes nothing.
        rows: Held-out rows with their target.
        model: Name for the result.
        metric: Name and metric.
        reference: Another model's predictions, such as late fusion's, for the effective robustness.
        plan: Severities, and corruptions other than those of `CORRUPTIONS`.

    Raises:
        DataError: the rows have no target.
        OptionError: the plan names a modality that the rows lack.
    """
    target, damages, clean = known_target(rows), list(_damages(rows, plan)), predict(rows)
    draw = partial(scored, target=target, metric=metric[1], resamples=plan.resamples, seed=plan.seed)
    shape = len(damages), len(plan.severities), -1
    guess = best_constant(clean, target, metric[1])
    constant = None if guess is None else draw([guess])[0]
    own = draw(map(predict, _corrupted(rows, damages, plan))).reshape(shape)
    others = (
        [None] * len(damages)
        if reference is None
        else draw(map(reference, _corrupted(rows, damages, plan))).reshape(shape)
    )
    sign = metric[1].better(1.0)
    return Robustness(
        model=model,
        metric=metric[0],
        score=interval_of(sign * draw([clean])[0]),
        constant=None if constant is None else interval_of(sign * constant),
        curves=tuple(
            _curve(damage, plan.severities, one, constant=constant, other=other, sign=sign)
            for damage, one, other in zip(damages, own, others, strict=True)
        ),
    )


def best_constant(predictions: Floats, target: NDArray[Any], metric: Metric) -> Floats | None:
    """The best prediction ``[N, ...]`` that is the same for every row; None where none can be scored.

    Of classes the shares of each, or the most frequent one; of numbers their mean or median; of the rows that
    are scored, which favours the constant a little. Of predictions at positions there is none.

    Args:
        predictions: A model's, for their form.
        target: Encoded.
        metric: Says which is best.

    Example:
        >>> from fuseloom.tasks.regression import Regression
        >>> target = np.array([0.0, 0.0, 9.0])
        >>> best_constant(target, target, Regression.metrics["mae"])
        array([0., 0., 0.])
    """
    if predictions.ndim > 2:
        return None
    if predictions.ndim == 2 and target.ndim == 1:
        shares = np.bincount(target, minlength=predictions.shape[1]) / len(target)
        candidates = [shares, np.eye(len(shares))[shares.argmax()]]
    else:
        candidates = [np.nanmean(target, axis=0), np.nanmedian(target, axis=0)]
    with np.errstate(invalid="ignore", divide="ignore"):
        scored = [
            (metric.better(metric.function(guess, target)), guess)
            for guess in (np.broadcast_to(one, predictions.shape).copy() for one in candidates)
        ]
    known = [pair for pair in scored if np.isfinite(pair[0])]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def _corrupted(rows: Batch, damages: Sequence[Damage], plan: RobustnessPlan) -> Iterator[Batch]:
    """The rows under each damage, at one severity after the other."""
    for damage, severity in product(damages, plan.severities):
        generator, worse = torch.Generator().manual_seed(plan.seed), rows
        for modality, (_, corruption) in damage.items():
            worse = corrupt(worse, modality, corruption, severity, generator)
        yield worse


def _curve(
    damage: Damage,
    severities: tuple[float, ...],
    own: Scores,
    *,
    constant: Scores | None,
    other: Scores | None,
    sign: float,
) -> RobustnessCurve:
    """The curve of scores ``[S, 1 + R]``, higher is better; ``sign`` gives them their own units."""
    collapse, half = _falls(severities, own, constant)
    return RobustnessCurve(
        modalities=tuple(damage),
        corruption=" + ".join(dict.fromkeys(name for name, _ in damage.values())),
        severities=severities,
        scores=tuple(interval_of(sign * one) for one in own),
        drops=tuple(interval_of(own[0] - one) for one in own),
        relative=interval_of(relative_robustness(sign * own, np.array(severities))),
        effective=None if other is None else interval_of(effective_robustness(own, other)),
        collapse=collapse,
        half=half,
    )


def _falls(
    severities: tuple[float, ...], own: Scores, constant: Scores | None
) -> tuple[float | None, float | None]:
    """The first severities at which the gain over the constant is nothing, and at most half."""
    if constant is None:
        return None, None
    gains = [interval_of(one - constant) for one in own]
    nothing = (s for s, gain in zip(severities, gains, strict=True) if not _positive(gain))
    little = (s for s, gain in zip(severities, gains, strict=True) if not gain.mean > gains[0].mean / 2)
    return next(nothing, None), next(little, None)


def _positive(gain: Interval) -> bool:
    return (gain.mean if gain.low is None else gain.low) > 0


def _damages(rows: Batch, plan: RobustnessPlan) -> Iterator[Damage]:
    """One corruption of each modality after the other, then the first of each and missing for all at once."""
    if unknown := sorted(plan.corruptions.keys() - rows.inputs.keys()):
        raise OptionError(f"corruptions must be of modalities {sorted(rows.inputs)}, got {unknown[0]!r}.")
    known = {
        name: plan.corruptions.get(name, CORRUPTIONS[stream_kind(value, rows.mask_of(name))])
        for name, value in rows.inputs.items()
    }
    for name, corruptions in known.items():
        for one in corruptions.items():
            yield {name: one}
    if len(known) > 1:
        yield {name: next(iter(corruptions.items())) for name, corruptions in known.items()}
        yield dict.fromkeys(known, ("missing", missing))
