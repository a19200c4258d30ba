"""A regression with products in words and tables, with as many digits as each number deserves."""

import math
from collections.abc import Iterator

from fuseloom.diagnose.interaction_regression import (
    Coefficient,
    InteractionRegression,
    NestedTest,
    SimpleSlope,
)
from fuseloom.metrics.correction import holm
from fuseloom.metrics.interval import Interval
from fuseloom.report.tables import Table
from fuseloom.report.words import ABSENT, listed, score

__all__ = [
    "moderated_pairs",
    "number",
    "regression_details",
    "regression_saying",
    "regression_table",
]

_SIGNIFICANT = 0.05
_RANGE = "95 % interval"
Row = tuple[str, ...]


def number(value: float | None) -> str:
    """Three digits, as coefficients have units of many sizes; a small whole number is written as such.

    Example:
        >>> number(1.9712), number(-12345.6), number(2.0), number(0.0004)
        ('1.97', '-12,346', '2', '0.000400')
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    decimals = 0 if value.is_integer() else max(0, 2 - math.floor(math.log10(abs(value))))
    return score(value, decimals)


def moderated_pairs(one: InteractionRegression) -> tuple[tuple[str, str], ...]:
    """Pairs of modalities, those whose product matters most first: whose slope, and by which other one.

    Where one of the two has only two values, the slope is that of the other.

    Args:
        one: Of some data.
    """
    products = sorted(_products(one), key=lambda product: product.p)
    return tuple(_turned(one, *product.term) for product in products)


def _products(one: InteractionRegression) -> list[Coefficient]:
    """Of two modalities, in the largest model."""
    return [term for term in one.models[-1].coefficients if len(term.term) == 2]


def _turned(one: InteractionRegression, first: str, second: str) -> tuple[str, str]:
    groups, others = (len(_slopes(one, *pair)) == 2 for pair in ((first, second), (second, first)))
    return (second, first) if others and not groups else (first, second)


def _slopes(one: InteractionRegression, modality: str, moderator: str) -> list[SimpleSlope]:
    return [slope for slope in one.slopes if (slope.modality, slope.moderator) == (modality, moderator)]


def regression_saying(one: InteractionRegression) -> str:
    """Whether what one modality says of the target depends on another, in the data."""
    test, names = one.interaction, list(one.centres)
    products = "their product" if test.degrees == 1 else "their products"
    kind = "F test" if one.family == "linear" else "likelihood-ratio test"
    how, where = f"{kind} of {products}, {_p_text(test.p)}", f"data ({one.rows:,} rows)"
    if not test.p < _SIGNIFICANT:
        what = names if len(names) == 2 else [f"one of {listed(names)}", "another"]
        return (
            f"The {where} do not show that what {what[0]} says of {one.target} depends on {what[1]} ({how})."
        )
    if test.robust_p is not None and not test.robust_p < _SIGNIFICANT:
        return (
            f"Whether {listed(names)} interact in the {where} is open ({how}, but {_p_text(test.robust_p)} "
            "by a test that lets rows scatter unevenly)."
        )
    return f"In the {where} {_interacting(one)} ({how})."


def _interacting(one: InteractionRegression) -> str:
    """Which of them, and the slopes of the pair that matters most."""
    products = _products(one)
    pairs = moderated_pairs(one)
    if len(pairs) == 1:
        return f"{listed(one.centres)} interact: {_moderation(one, *pairs[0])}"
    shown = [
        listed(product.term)
        for product, p in zip(products, holm([product.p for product in products]), strict=True)
        if p < _SIGNIFICANT
    ]
    if not shown:
        return f"{listed(one.centres)} interact, though of no two of them alone is it shown"
    others = ("", ", and so does another pair", ", and so do other pairs")[min(len(shown), 3) - 1]
    return f"{listed(pairs[0])} interact{others}: {_moderation(one, *pairs[0])}"


def _moderation(one: InteractionRegression, modality: str, moderator: str) -> str:
    slopes = _slopes(one, modality, moderator)
    first, last = slopes[0], slopes[-1]
    if one.family == "linear":
        change, (low, high) = f"changes {one.target} by", (_signed(each.slope.mean) for each in (first, last))
    else:
        change = f"multiplies the odds of {one.target} by"
        low, high = (number(_odds(each.slope.mean)) for each in (first, last))
    at = "" if len(slopes) == 2 else "about "
    return (
        f"each unit of {modality} {change} {low} where {moderator} is {at}{number(first.value)}, and by "
        f"{high} where it is {at}{number(last.value)}"
    )


def _odds(slope: float) -> float:
    try:
        return math.exp(slope)
    except OverflowError:
        return math.inf


def _signed(value: float) -> str:
    shown = number(value)
    return shown if shown.startswith("-") or shown == ABSENT else f"+{shown}"


def _p_text(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _p_cell(p: float | None) -> str:
    if p is None or math.isnan(p):
        return ABSENT
    return "<0.001" if p < 0.001 else f"{p:.2g}"


def regression_table(one: InteractionRegression) -> Table:
    """The coefficients of the model with all products."""
    full = one.models[-1]
    left = f" {one.left_out:,} rows lack one of them." if one.left_out else ""
    kind = "R2" if one.family == "linear" else "McFadden's R2"
    where = "at their means" if any(one.centres.values()) else "0"
    note = (
        f"{_outcome(one)} of {one.rows:,} rows of the data, whatever a model predicts.{left} {kind} "
        f"{number(full.r2)}. The estimate of a modality alone is its slope where those that it is multiplied "
        f"with are {where}."
    )
    return _coefficients(one, full.coefficients, note=note)


def _outcome(one: InteractionRegression) -> str:
    return one.target if one.family == "linear" else f"Log odds of {one.target}"


def _coefficients(
    one: InteractionRegression, coefficients: tuple[Coefficient, ...], *, note: str = ""
) -> Table:
    rows = tuple(
        (
            " x ".join(term.term) or "intercept",
            number(term.estimate.mean),
            number(term.error),
            *_tested(term),
            _range(term.estimate),
        )
        for term in coefficients
    )
    return Table(head=("Term", "Estimate", "SE", _statistic(one), "p", _RANGE), rows=rows, note=note)


def _statistic(one: InteractionRegression) -> str:
    return "t" if one.family == "linear" else "z"


def _tested(found: Coefficient | SimpleSlope) -> Row:
    return (score(found.statistic, 2), _p_cell(found.p))


def _range(interval: Interval) -> str:
    return f"{number(interval.low)} to {number(interval.high)}"


def regression_details(one: InteractionRegression) -> Iterator[tuple[str, Table]]:
    """The additive model, the tests of each step, and slopes, each under a title."""
    additive = one.models[len(one.centres) - 1]
    yield "Without products", _coefficients(one, additive.coefficients)
    yield "Are the terms needed?", _tests(one)
    yield "Slopes", _slope_table(one)


def _tests(one: InteractionRegression) -> Table:
    rows = [_test(test) for test in one.tests]
    if one.interaction != one.tests[-1]:
        rows.append(_test(one.interaction))
    statistic = "F" if one.family == "linear" else "Chi2"
    return Table(
        head=("From", "To", statistic, "Terms", "p", "Robust p", "R2 gained"), rows=tuple(rows), words=2
    )


def _test(test: NestedTest) -> Row:
    return (
        test.smaller,
        test.larger,
        score(test.statistic, 2),
        str(test.degrees),
        _p_cell(test.p),
        _p_cell(test.robust_p),
        number(test.gain),
    )


def _slope_table(one: InteractionRegression) -> Table:
    rows = tuple(
        (
            slope.modality,
            f"{slope.moderator} = {number(slope.value)}",
            number(slope.slope.mean),
            number(slope.error),
            *_tested(slope),
            _range(slope.slope),
        )
        for slope in one.slopes
    )
    note = "Of a modality with more than two values its mean is taken, and one standard deviation either way."
    head = ("Slope of", "Where", "Slope", "SE", _statistic(one), "p", _RANGE)
    return Table(head=head, rows=rows, words=2, note=note)
