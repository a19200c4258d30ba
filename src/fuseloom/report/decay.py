"""Robustness curves: the score of a model as one modality gets worse, a line for each way."""

import math
from collections.abc import Sequence

from fuseloom.diagnose.robustness import Robustness, RobustnessCurve
from fuseloom.metrics.interval import Interval
from fuseloom.report.frame import HEIGHT, LEFT, LETTER, RIGHT, TOP, WIDTH, across_grid, up_grid
from fuseloom.report.svg import Axis, element, figure, linear_axis, span, text, tooltip
from fuseloom.report.words import fit, interval_text, listed, score

__all__ = ["decay"]

_BOTTOM = HEIGHT - 52.0
_LEGEND = 26.0
_LETTERS = int((WIDTH - 44) / LETTER) - 1
_MOST_COLOURS = 5


def decay(robustness: Robustness, decimals: int) -> list[tuple[str, str]]:
    """A figure per modality, and of all at once: what gets worse, and scores as inline SVG.

    Args:
        robustness: Of one model.
        decimals: Of scores.
    """
    up = _score_axis(robustness)
    groups: dict[tuple[str, ...], list[RobustnessCurve]] = {}
    for curve in robustness.curves:
        groups.setdefault(curve.modalities, []).append(curve)
    return [(_title(names), _figure(robustness, curves, up, decimals)) for names, curves in groups.items()]


def _title(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{listed(names)} at once"


def _score_axis(robustness: Robustness) -> Axis:
    """The same for all figures, so that they can be compared."""
    found = [one for curve in robustness.curves for one in curve.scores]
    found += [robustness.constant] if robustness.constant is not None else []
    ends = [end for one in found for end in (one.low, one.mean, one.high) if end is not None]
    low, high = span(ends)
    margin = 0.04 * (high - low)
    return linear_axis(low - margin, high + margin, start=_BOTTOM, end=TOP)


def _figure(robustness: Robustness, curves: Sequence[RobustnessCurve], up: Axis, decimals: int) -> str:
    last = max(curve.severities[-1] for curve in curves)
    across = linear_axis(0, last, start=LEFT, end=RIGHT, most=5)
    lines = [_curve(curve, across, up, index, decimals) for index, curve in enumerate(curves)]
    legend = [_entry(curve, index) for index, curve in enumerate(curves)]
    return figure(
        _label(robustness, curves, decimals),
        up_grid(up, f"test {robustness.metric}"),
        across_grid(across, "severity", top=TOP, bottom=_BOTTOM),
        _constant(robustness.constant, up),
        *lines,
        *legend,
        width=WIDTH,
        height=HEIGHT + _LEGEND * len(curves) + 6,
    )


def _constant(constant: Interval | None, up: Axis) -> str:
    if constant is None or not math.isfinite(constant.mean):
        return ""
    y = up.place(constant.mean)
    return element("line", x1=LEFT, x2=RIGHT, y1=y, y2=y, class_="diagonal")


def _colour(index: int) -> str:
    return f"series-{index % _MOST_COLOURS}"


def _curve(curve: RobustnessCurve, across: Axis, up: Axis, index: int, decimals: int) -> str:
    places = list(zip(curve.severities, curve.scores, strict=True))
    known = [(across.place(level), one) for level, one in places if math.isfinite(one.mean)]
    points = " ".join(f"{x:.1f},{up.place(one.mean):.1f}" for x, one in known)
    dots = [
        element(
            "circle",
            tooltip(f"severity {level:g}: {interval_text(one, decimals)}"),
            cx=across.place(level),
            cy=up.place(one.mean),
            r=7 if level == curve.collapse else 3,
            class_="collapsed" if level == curve.collapse else "dot",
        )
        for level, one in places
        if math.isfinite(one.mean)
    ]
    return element(
        "g", _band(known, up), element("polyline", points=points), *dots, class_=f"decay {_colour(index)}"
    )


def _band(known: Sequence[tuple[float, Interval]], up: Axis) -> str:
    ends = [(x, one.low, one.high) for x, one in known if one.low is not None and one.high is not None]
    upper = [f"{x:.1f},{up.place(high):.1f}" for x, _, high in ends]
    lower = [f"{x:.1f},{up.place(low):.1f}" for x, low, _ in reversed(ends)]
    return element("polygon", points=" ".join([*upper, *lower])) if len(ends) > 1 else ""


def _entry(curve: RobustnessCurve, index: int) -> str:
    y = HEIGHT + 8 + _LEGEND * index
    name = f"{curve.corruption.replace('_', ' ')}: {_end(curve)}"
    line = element("polyline", points=f"2.0,{y:.1f} 34.0,{y:.1f}")
    return element(
        "g", line, text(fit(name, _LETTERS), 42, y + 5, class_="name"), class_=f"decay {_colour(index)}"
    )


def _end(curve: RobustnessCurve) -> str:
    return "holds" if curve.collapse is None else f"breaks at {curve.collapse:g}"


def _label(robustness: Robustness, curves: Sequence[RobustnessCurve], decimals: int) -> str:
    shown = "; ".join(
        f"{curve.corruption.replace('_', ' ')} {score(curve.scores[-1].mean, decimals)} at severity "
        f"{curve.severities[-1]:g}, {_end(curve)}"
        for curve in curves
    )
    start = (
        f"Test {robustness.metric} of {robustness.model}, {score(robustness.score.mean, decimals)} at first"
    )
    return f"{start}, with worse {_title(curves[0].modalities)}: {shown}."
