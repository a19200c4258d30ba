"""Do modalities interact in a model? Its score beside that of its best additive approximation (EMAP)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.diagnose.projection import Form, Partners, project
from fuseloom.diagnose.resampling import known_target, resampled_scores
from fuseloom.diagnose.split import Outputs, Split
from fuseloom.metrics.interval import Interval
from fuseloom.metrics.regression import mae
from fuseloom.tasks import Metric
from fuseloom.types import Batch

__all__ = ["Emap", "emap"]

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Emap:
    """A model's score on held-out rows before and after its interactions between modalities are removed.

    Intervals are by the paired bootstrap over rows.
    """

    model: str
    metric: str
    rows: int
    modalities: tuple[str, ...]
    before: Interval
    """Score of the model, in the units of the metric."""
    after: Interval
    """Score of its additive projection, in the units of the metric."""
    gap: Interval
    """What the interactions are worth, in the units of the metric: positive where the score is worse without
    them."""
    agreement: Interval | None
    """Share of rows (of several labels, of labels) that are decided alike before and after; None where
    numbers are predicted."""
    energy: float
    """Interaction energy: share of the variance of the outputs over all combinations of modalities that no
    additive function explains, 0 to 1; of all outputs together. Estimated on at most 256 rows of each
    modality where ``form`` is ``multilinear`` or ``monte carlo``, and there with the projection's error. What
    moves all logits alike counts, though it changes no decision."""
    form: Form
    """How the projection was computed."""
    combinations: int
    """Combinations of modalities of which outputs were computed."""
    standard_error: float
    """Of a projected output by the choice of partners, in units of the output; root mean square over rows and
    outputs. 0 where all were taken."""
    deviation: float
    """Standard deviation over rows of the model's outputs, in their units, to compare that error with; root
    mean square over outputs."""


def emap(
    outputs: Outputs | Split,
    rows: Batch,
    *,
    predict: Callable[[Floats], Floats],
    model: str,
    metric: tuple[str, Metric],
    partners: Partners = None,
    seed: int = 0,
) -> Emap:
    """Score a model and its empirical multimodally-additive projection on the same rows.

    The projection is the sum of a function of each modality that is nearest to the model over all
    combinations of the modalities of these rows, by squares, for each output before any softmax. A gap within
    its interval of zero says that the model does not use interactions on these rows. It does not say that
    there are none to use; and as combinations need not be plausible, a projection may even score higher.

    Paper: Hessel and Lee, EMNLP 2020, for two modalities, on all pairs. Differs from the official code in
    that it keeps sums instead of the table of all pairs, and in the forms that need not compute it.

    Args:
        outputs: Rows to raw outputs, or a model in two parts, of which what sees one modality at a time runs
            once for each row (`fuseloom.diagnose.split.split` parts a `FusionModel`).
        rows: Held-out rows with their target.
        predict: Raw outputs ``[N, K]`` to predictions as the metric takes them, such as `Task.predict`.
        model: Name for the result.
        metric: Name and metric.
        partners: How many other rows each modality of a row is combined with, or ``"all"``. By default a
            closed form, where there is one; else all up to four million combinations, and beyond as many as
            come to that.
        seed: Of the partners and of the bootstrap.

    Raises:
        DataError: rows without a target, or outputs that are not finite or of one row alone.
        ModalityError: fewer than two modalities.
        OptionError: outputs of another form, or a number of partners out of its range.

    Example:
        >>> import torch
        >>> from fuseloom.tasks.regression import Regression
        >>> a, b = torch.tensor([-1.0, -1.0, 1.0, 1.0]), torch.tensor([-1.0, 1.0, -1.0, 1.0])
        >>> rows = Batch(inputs={"a": a[:, None], "b": b[:, None]}, target=a * b)
        >>> found = emap(
        ...     lambda rows: rows.inputs["a"] * rows.inputs["b"],
        ...     rows,
        ...     predict=lambda outputs: outputs[:, 0],
        ...     model="product",
        ...     metric=("mae", Regression.metrics["mae"]),
        ... )
        >>> found.before.mean, found.after.mean, found.energy, found.combinations
        (0.0, 1.0, 1.0, 23)
    """
    target = known_target(rows)
    parts = outputs if isinstance(outputs, Split) else Split(together=outputs)
    found = project(parts, rows, partners=partners, seed=seed)
    before, after = (predict(columns.numpy()) for columns in (found.own, found.additive))
    scores = _scores(before, after, target, metric[1], seed=seed)
    return Emap(
        model=model,
        metric=metric[0],
        rows=len(rows),
        modalities=tuple(rows.inputs),
        before=scores[0],
        after=scores[1],
        gap=scores[2],
        agreement=_agreement(before, after, target, seed=seed),
        energy=found.energy,
        form=found.form,
        combinations=found.num_computed,
        standard_error=float(found.error.square().mean().sqrt()),
        deviation=float(found.own.var(0, correction=0).mean().sqrt()),
    )


def _scores(
    before: Floats, after: Floats, target: NDArray[Any], metric: Metric, *, seed: int
) -> tuple[Interval, Interval, Interval]:
    """Scores of both, and what the first is better by."""
    sign = metric.better(1.0)
    reached = [metric.function(one, target) for one in (before, after)]
    drawn = resampled_scores([before, after], target, metric, seed=seed)
    own, projected = (
        Interval.from_resamples(score, sign * one) for score, one in zip(reached, drawn, strict=True)
    )
    gap = Interval.from_resamples(sign * (reached[0] - reached[1]), drawn[0] - drawn[1])
    return own, projected, gap


def _agreement(before: Floats, after: Floats, target: NDArray[Any], *, seed: int) -> Interval | None:
    if before.ndim == 1 or (target.ndim == 2 and not np.isin(target, (0, 1)).all()):
        return None
    if target.ndim == 1:
        alike = (before.argmax(-1) == after.argmax(-1)).astype(np.float64)
    else:
        alike = ((before >= 0.5) == (after >= 0.5)).mean(-1)
    unlike = Metric(function=mae, higher_is_better=False)
    drawn = resampled_scores([alike], np.ones_like(alike), unlike, seed=seed)
    return Interval.from_resamples(float(alike.mean()), 1 + drawn[0])
