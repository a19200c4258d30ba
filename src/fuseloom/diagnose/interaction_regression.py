"""Whether modalities of one number each interact in a regression, and by how much."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from fuseloom.errors import DataError, ModalityError, OptionError
from fuseloom.metrics.interval import Interval
from fuseloom.metrics.regression_table import (
    Contrast,
    Family,
    RegressionFit,
    added_terms_test,
    fit_regression,
    variance_inflation,
)
from fuseloom.types import Batch

__all__ = [
    "Coefficient",
    "InteractionRegression",
    "NestedTest",
    "PartialEffect",
    "RegressionModel",
    "SimpleSlope",
    "interaction_regression",
]

Floats = NDArray[np.float64]
Term = tuple[str, ...]
"""The modalities of a product; none for the intercept."""
Columns = Mapping[str, Floats]

_NUM_POINTS = 25
_SMALLEST = 1e-6
"""Singular values under this share of the largest are taken for zero: a variance inflation of a trillion."""


@dataclass(frozen=True, kw_only=True)
class Coefficient:
    """One row of the table of a regression."""

    term: Term
    """The modality, or those of the product; empty for the intercept."""
    estimate: Interval
    """In units of the target per unit of the term; of a logistic model in log odds."""
    error: float
    """Standard error."""
    statistic: float
    """Student's t; of a logistic model Wald's z."""
    p: float
    """Two-sided."""
    robust_error: float | None
    """HC3: holds where residuals spread differently from row to row; None where a row alone decides it."""
    robust_p: float | None
    standardised: float | None
    """The coefficient where modalities, and the target of a linear model, are in standard deviations from
    their means, products taken after that; None for the intercept."""
    inflation: float | None
    """Variance inflation factor: 1 where the term shares nothing with the others; None for the intercept."""


@dataclass(frozen=True, kw_only=True)
class RegressionModel:
    """A regression of the target on some terms."""

    formula: str
    """Its terms without the intercept, as in ``a + b + a x b``."""
    coefficients: tuple[Coefficient, ...]
    """Intercept first."""
    covariance: tuple[tuple[float, ...], ...]
    """Of the estimates, in their order."""
    degrees: int | None
    """Of freedom of the residuals; None for a logistic model."""
    r2: float
    """Share of the variance explained; of a logistic model McFadden's."""
    adjusted_r2: float | None
    """Corrected for the number of terms; None for a logistic model."""
    statistic: float
    """Of the test of all terms at once: F, or chi-square of the likelihood ratio."""
    p: float
    """Of that test."""
    aic: float
    bic: float
    log_likelihood: float
    deviance: float
    """Sum of squared residuals; of a logistic model -2 times its log likelihood."""
    variance: float | None
    """Of the residuals; None for a logistic model."""
    condition_number: float
    """Largest over smallest singular value of the terms; over about 30, they are hard to tell apart."""


@dataclass(frozen=True, kw_only=True)
class NestedTest:
    """Whether the terms that a larger model adds to a smaller one are needed."""

    smaller: str
    larger: str
    statistic: float
    """F; of logistic models chi-square of the likelihood ratio."""
    degrees: int
    """Number of terms added."""
    p: float
    robust_p: float | None
    """Of Wald's test of the added coefficients with HC3 errors; None where these are not defined."""
    gain: float
    """By how much R2 rises."""


@dataclass(frozen=True, kw_only=True)
class SimpleSlope:
    """How much the target rises with one modality where another has a given value, the others their means."""

    modality: str
    moderator: str
    value: float
    """Of the moderator, as in the data: both its values where it has two; otherwise its mean, and one
    standard deviation to either side."""
    slope: Interval
    """Target per unit of the modality; of a logistic model in log odds."""
    error: float
    statistic: float
    p: float


@dataclass(frozen=True, kw_only=True)
class PartialEffect:
    """A line to draw: what the largest model expects along one modality at a value of another."""

    modality: str
    moderator: str
    value: float
    """Of the moderator, as in the data."""
    x: tuple[float, ...]
    """Of the modality, from its least to its greatest."""
    expected: tuple[float, ...]
    """Target, or probability of its larger value; of modalities that are neither, the mean is taken."""
    low: tuple[float, ...]
    """Of the 95 % interval of what is expected, not of single rows."""
    high: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class InteractionRegression:
    """Regressions nested in one another, from one modality to all their products, and what they show."""

    target: str
    """What is regressed; of a logistic model what has the probability."""
    family: Family
    rows: int
    left_out: int
    """Rows without a modality or target."""
    centres: dict[str, float]
    """What was subtracted from each modality before products were taken; 0 where nothing was."""
    models: tuple[RegressionModel, ...]
    """One modality more each time, then products of two, of three, ..."""
    tests: tuple[NestedTest, ...]
    """Each model against the one before it."""
    interaction: NestedTest
    """The largest model against the additive one."""
    slopes: tuple[SimpleSlope, ...]
    """Of the largest model."""
    effects: tuple[PartialEffect, ...]
    """Of the largest model."""

    def predict(self, columns: Columns, *, model: int = -1) -> Floats:
        """What a model expects of rows: the target, or the log odds of its larger value.

        Args:
            columns: Modality -> numbers ``[N]`` as in the data.
            model: Number of the model, the largest by default.

        Example:
            >>> x = torch.tensor([[0.0], [1.0], [0.0], [1.0], [2.0]], dtype=torch.float64)
            >>> y = torch.tensor([[0.0], [0.0], [1.0], [1.0], [2.0]], dtype=torch.float64)
            >>> rows = Batch(inputs={"a": x, "b": y}, target=(1 + x * y)[:, 0])
            >>> found = interaction_regression(rows)
            >>> found.predict({"a": np.array([3.0]), "b": np.array([2.0])}).round(6).tolist()
            [7.0]
        """
        chosen = self.models[model].coefficients
        weights = np.array([one.estimate.mean for one in chosen])
        expected: Floats = _design([one.term for one in chosen], _centred(columns, self.centres)) @ weights
        return expected


def interaction_regression(
    rows: Batch,
    *,
    target: str = "target",
    order: int = 2,
    family: Family = "linear",
    centre: bool = False,
) -> InteractionRegression:
    """Regress the target on modalities of one number each, then on their products too.

    ``w0 + w1 a + w2 b + w3 a b``: the product says that what ``a`` means depends on ``b``. With it, ``w1`` is
    the slope of ``a`` where ``b`` is 0, so centring changes ``w1`` and ``w2``, never the largest product. For
    wide modalities give what their own models predict. With a model's predictions as target the table is
    about the model; with the truth, about the data.

    It sees products only: modalities may interact in other ways, and a curved effect of one modality looks
    like a product where the two are correlated.

    Args:
        rows: Modalities ``[N]`` or ``[N, 1]``, their masks, and the target ``[N]``. A row that lacks one of
            them, or has NaN or infinite numbers, is left out and counted.
        target: Name of the target for the result; of a logistic model that of its larger value.
        order: Most modalities in a product.
        family: ``"logistic"`` for a target of two values.
        centre: Whether each modality is taken from its mean.

    Raises:
        DataError: too few rows, a constant, terms that determine one another, or classes that they separate.
        MissingExtraError: statsmodels is not installed.
        ModalityError: fewer than two modalities, or one of several numbers.
        OptionError: there is no such order or family.

    Example:
        >>> from fuseloom.data import load
        >>> reviews = load("reviews")
        >>> inputs = {n: torch.from_numpy(m.values).double() for n, m in reviews.modalities.items()}
        >>> found = interaction_regression(Batch(inputs=inputs, target=torch.from_numpy(reviews.target)))
        >>> found.models[-1].formula
        'smiling + critic + smiling x critic'
        >>> [round(one.estimate.mean, 2) for one in found.models[-1].coefficients]
        [5.79, 0.68, -2.94, 1.29]
        >>> [(one.value, round(one.slope.mean, 2)) for one in found.slopes if one.modality == "smiling"]
        [(0.0, 0.68), (1.0, 1.97)]
    """
    _check(rows, order, family)
    columns, outcome = _usable(rows)
    if family == "logistic":
        outcome = _binary(outcome)
    nested = _nested_terms(tuple(columns), order)
    _check_varied(nested[-1], columns, outcome)
    units = _Units.of(columns, centre=centre)
    standard = units.standard(columns)
    _check_determined(nested[-1], standard)
    fits = [fit_regression(_design(terms, standard), outcome, family=family) for terms in nested]
    spread = float(outcome.std(ddof=1)) if family == "linear" else 1.0
    models = tuple(
        _model(terms, fit, units, columns, spread=spread) for terms, fit in zip(nested, fits, strict=True)
    )
    steps = [*zip(range(len(fits) - 1), range(1, len(fits)), strict=True), (len(columns) - 1, len(fits) - 1)]
    *tests, interaction = [
        _nested_test(models[small], models[large], fits[small], fits[large]) for small, large in steps
    ]
    return InteractionRegression(
        target=target,
        family=family,
        rows=len(outcome),
        left_out=len(rows) - len(outcome),
        centres=dict(units.centres),
        models=models,
        tests=tuple(tests),
        interaction=interaction,
        slopes=tuple(_slopes(nested[-1], fits[-1], columns, units)),
        effects=tuple(_effects(nested[-1], fits[-1], columns, units, family)),
    )


@dataclass(frozen=True, kw_only=True)
class _Units:
    """The units of modalities, and standard deviations from their means, in which regressions are solved.

    In the data's own units products may be of such sizes, and so near to sums of the single terms, that
    nothing is left of their differences in double precision.
    """

    means: Mapping[str, float]
    scales: Mapping[str, float]
    """Standard deviations."""
    centres: Mapping[str, float]
    """What is subtracted from each modality in the coefficients that are told."""

    @classmethod
    def of(cls, columns: Columns, *, centre: bool) -> Self:
        """Learn them."""
        means = {name: float(column.mean()) for name, column in columns.items()}
        scales = {name: float(column.std(ddof=1)) for name, column in columns.items()}
        return cls(means=means, scales=scales, centres=means if centre else dict.fromkeys(means, 0.0))

    def standard(self, columns: Columns) -> dict[str, Floats]:
        """Modalities in standard deviations from their means."""
        return {name: (column - self.means[name]) / self.scales[name] for name, column in columns.items()}

    def at(self, given: Mapping[str, float]) -> dict[str, float]:
        """A point in standard deviations: modalities with given values, the others at their means."""
        return {name: (given.get(name, mean) - mean) / self.scales[name] for name, mean in self.means.items()}

    def back(self, terms: Sequence[Term]) -> Floats:
        """What gives the coefficients in the data's units from those in standard deviations, ``[P, P]``."""
        return np.array([[self._share(term, of) for of in terms] for term in terms])

    def _share(self, term: Term, of: Term) -> float:
        """How often a product of modalities in standard deviations holds a product of them in their units."""
        if not set(term) <= set(of):
            return 0.0
        rest = [self.centres[name] - self.means[name] for name in of if name not in term]
        return math.prod(rest) / math.prod(self.scales[name] for name in of)


def _check(rows: Batch, order: int, family: str) -> None:
    wide = {name: list(value.shape[1:]) for name, value in rows.inputs.items() if value[:1].numel() > 1}
    if wide:
        raise ModalityError(
            f"inputs must be one number per row and modality, got shapes {wide} per row. Give what a model "
            "of that modality predicts."
        )
    if len(rows.inputs) < 2:
        raise ModalityError(f"inputs must be two or more modalities, got {list(rows.inputs)}.")
    if not 2 <= order <= len(rows.inputs):
        raise OptionError(f"order must be from 2 to {len(rows.inputs)}, the modalities, got {order}.")
    if family not in get_args(Family):
        raise OptionError(f"family must be one of {list(get_args(Family))}, got {family!r}.")
    if rows.target is None or rows.target[:1].numel() > 1:
        got = None if rows.target is None else list(rows.target.shape)
        raise DataError(f"target must be one number per row, got {got}. Regress one target at a time.")


def _usable(rows: Batch) -> tuple[dict[str, Floats], Floats]:
    """Columns and target ``[N]`` of the rows that have them all."""
    assert rows.target is not None
    kept = torch.ones(len(rows), dtype=torch.bool)
    columns = {name: value.detach().reshape(-1).cpu().double() for name, value in rows.inputs.items()}
    target = rows.target.detach().reshape(-1).cpu().double()
    for name, column in columns.items():
        kept &= rows.mask_of(name).reshape(-1).cpu() & column.isfinite()
    kept &= target.isfinite()
    return {name: column[kept].numpy() for name, column in columns.items()}, target[kept].numpy()


def _binary(target: Floats) -> Floats:
    values = np.unique(target)
    if len(values) != 2:
        raise DataError(
            f"target must have two values for a logistic regression, got {len(values)}. Use family='linear'."
        )
    larger: Floats = (target == values[1]).astype(np.float64)
    return larger


def _check_varied(terms: Sequence[Term], columns: Columns, target: Floats) -> None:
    """Refuse too few rows, and what is the same in all of them."""
    if len(target) < len(terms) + 1:
        raise DataError(
            f"rows must be at least {len(terms) + 1} for {len(terms)} coefficients, got {len(target)} "
            "complete ones. Lower the order."
        )
    constant = [name for name, column in [*columns.items(), ("target", target)] if np.ptp(column) == 0]
    if constant:
        raise DataError(f"Modalities and target must vary, got always the same {constant[0]!r}.")


def _check_determined(terms: Sequence[Term], columns: Columns) -> None:
    """Refuse terms that determine one another, which leaves their coefficients open."""
    design = _design(terms, columns)
    scaled = design / np.maximum(np.linalg.norm(design, axis=0), 1e-300)
    for place in range(1, len(terms) + 1):
        if np.linalg.matrix_rank(scaled[:, :place], rtol=_SMALLEST) < place:
            raise DataError(
                f"Terms must not determine one another, got {_name(terms[place - 1])!r} as a sum of those "
                "before it. Leave out a modality, or lower the order."
            )


def _nested_terms(names: Sequence[str], order: int) -> list[list[Term]]:
    singles = [[(), *((name,) for name in names[:count])] for count in range(1, len(names) + 1)]
    nested: list[list[Term]] = list(singles)
    for size in range(2, order + 1):
        nested.append([*nested[-1], *combinations(names, size)])
    return nested


def _centred(columns: Columns, centres: Mapping[str, float]) -> dict[str, Floats]:
    return {name: columns[name] - centre for name, centre in centres.items()}


def _design(terms: Sequence[Term], columns: Columns) -> Floats:
    """A column for each term, ``[N, P]``."""
    ones = np.ones_like(next(iter(columns.values())))
    return np.stack([np.prod([ones, *(columns[name] for name in term)], axis=0) for term in terms], axis=1)


def _name(term: Term) -> str:
    return " x ".join(term)


def _model(
    terms: Sequence[Term], fit: RegressionFit, units: _Units, columns: Columns, *, spread: float
) -> RegressionModel:
    back, design = units.back(terms), _design(terms, _centred(columns, units.centres))
    inflations = variance_inflation(design)
    return RegressionModel(
        formula=" + ".join(_name(term) for term in terms if term),
        coefficients=tuple(
            _coefficient(
                term, fit, back[place], scaled=fit.weights[place] / spread, inflation=inflations[place]
            )
            for place, term in enumerate(terms)
        ),
        covariance=tuple(map(tuple, (back @ fit.covariance @ back.T).tolist())),
        degrees=int(fit.degrees) if np.isfinite(fit.degrees) else None,
        r2=fit.r2,
        adjusted_r2=fit.adjusted_r2,
        statistic=fit.statistic,
        p=fit.p,
        aic=fit.aic,
        bic=fit.bic,
        log_likelihood=fit.log_likelihood,
        deviance=fit.deviance,
        variance=fit.variance,
        condition_number=float(np.linalg.cond(design)),
    )


def _coefficient(
    term: Term, fit: RegressionFit, direction: Floats, *, scaled: float, inflation: float
) -> Coefficient:
    plain, robust = fit.contrast(direction), fit.contrast(direction, robust=True)
    return Coefficient(
        term=term,
        estimate=_interval(plain),
        error=plain.error,
        statistic=plain.statistic,
        p=plain.p,
        robust_error=robust.error if np.isfinite(robust.error) else None,
        robust_p=robust.p if np.isfinite(robust.error) else None,
        standardised=float(scaled) if term else None,
        inflation=float(inflation) if term else None,
    )


def _interval(found: Contrast) -> Interval:
    return Interval(mean=found.estimate, low=found.low, high=found.high)


def _nested_test(
    small: RegressionModel, large: RegressionModel, less: RegressionFit, more: RegressionFit
) -> NestedTest:
    statistic, p = added_terms_test(less, more)
    return NestedTest(
        smaller=small.formula,
        larger=large.formula,
        statistic=statistic,
        degrees=len(more.weights) - len(less.weights),
        p=p,
        robust_p=more.robust_test(len(less.weights)),
        gain=large.r2 - small.r2,
    )


def _moderating(column: Floats) -> list[float]:
    """The values of a moderator at which slopes and lines are shown."""
    values = np.unique(column)
    if len(values) == 2:
        return [float(value) for value in values]
    mean, deviation = float(column.mean()), float(column.std(ddof=1))
    return [mean - deviation, mean, mean + deviation]


def _slopes(terms: Sequence[Term], fit: RegressionFit, columns: Columns, units: _Units) -> list[SimpleSlope]:
    found = []
    for modality, moderator in permutations(columns, 2):
        for value in _moderating(columns[moderator]):
            point = units.at({moderator: value})
            # The derivative of a product is what is left of it without the modality.
            direction = np.array(
                [np.prod([point[n] for n in t if n != modality]) * (modality in t) for t in terms]
            )
            slope = fit.contrast(direction / units.scales[modality])
            found.append(
                SimpleSlope(
                    modality=modality,
                    moderator=moderator,
                    value=value,
                    slope=_interval(slope),
                    error=slope.error,
                    statistic=slope.statistic,
                    p=slope.p,
                )
            )
    return found


def _effects(
    terms: Sequence[Term],
    fit: RegressionFit,
    columns: Columns,
    units: _Units,
    family: Family,
) -> list[PartialEffect]:
    found = []
    for modality, moderator in permutations(columns, 2):
        x = np.linspace(columns[modality].min(), columns[modality].max(), _NUM_POINTS)
        for value in _moderating(columns[moderator]):
            line = {n: np.full(_NUM_POINTS, at) for n, at in units.at({moderator: value}).items()}
            line |= units.standard({modality: x})
            along = [fit.contrast(row) for row in _design(terms, line)]
            found.append(
                PartialEffect(
                    modality=modality,
                    moderator=moderator,
                    value=value,
                    x=tuple(x.tolist()),
                    expected=_shown([one.estimate for one in along], family),
                    low=_shown([one.low for one in along], family),
                    high=_shown([one.high for one in along], family),
                )
            )
    return found


def _shown(numbers: Sequence[float], family: Family) -> tuple[float, ...]:
    """The numbers of a line in units of the target, or as probabilities."""
    if family == "linear":
        return tuple(numbers)
    # exp would overflow where a line is extrapolated far; the hyperbolic tangent does not.
    return tuple((0.5 * (1 + np.tanh(np.array(numbers) / 2))).tolist())
