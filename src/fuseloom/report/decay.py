"""Robustness curves: the score of a model as one modality gets worse, a line for each way."""

import math
from collections.abc import Sequence

from fuseloom.diagnose.robustness import Robustness, RobustnessCurve
from fuseloom.metrics.interval import Interval
from fuseloom.report.frame import HEIGHT, LEFT, RIGHT, TOP, WIDTH, across_grid, up_grid
from fuseloom.report.series import Dot, legend, legend_height, series
from fuseloom.report.svg import Axis, element, figure, linear_axis, span
from fuseloom.report.words import listed, score

__all__ = ["decay"]

_BOTTOM = HEIGHT - 52.0


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
    names = [f"{curve.corruption.replace('_', ' ')}: {_end(curve)}" for curve in curves]
    return figure(
        _label(robustness, curves, decimals),
        up_grid(up, f"test {robustness.metric}"),
        across_grid(across, "severity", top=TOP, bottom=_BOTTOM),
        _constant(robustness.constant, up),
        *lines,
        *legend(names),
        width=WIDTH,
        height=HEIGHT + legend_height(len(names)),
    )


def _constant(constant: Interval | None, up: Axis) -> str:
    if constant is None or not math.isfinite(constant.mean):
        return ""
    y = up.place(constant.mean)
    return element("line", x1=LEFT, x2=RIGHT, y1=y, y2=y, class_="diagonal")


def _curve(curve: RobustnessCurve, across: Axis, up: Axis, index: int, decimals: int) -> str:
    dots = [
        Dot(
            at=level,
            value=one,
            said=f"severity {level:g}",
            ring="collapsed" if level == curve.collapse else "",
        )
        for level, one in zip(curve.severities, curve.scores, strict=True)
    ]
    return series(dots, across, up, index=index, decimals=decimals)


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
