"""Estimates with their intervals, one line each, on one scale."""

import math
from collections.abc import Mapping

from fuseloom.metrics.interval import Interval
from fuseloom.report.frame import LETTER, WIDTH, across_grid
from fuseloom.report.svg import Axis, element, figure, linear_axis, marker, span, text, tooltip
from fuseloom.report.words import fit, interval_text, score, signed

__all__ = ["estimates"]

_LINE = 48.0
_TOP = 8.0
_BOTTOM = 52.0
_LEFT = 20.0
_RIGHT = 84.0
_LETTERS = int(WIDTH / LETTER) - 2


def estimates(found: Mapping[str, Interval], title: str, decimals: int, *, zero: bool = False) -> str:
    """Dots with 95 % intervals as inline SVG.

    Args:
        found: Name -> estimate.
        title: Of the axis.
        decimals: Of the numbers on the right.
        zero: Whether they are differences, of which zero is on the axis, as an upright line.
    """
    height = _TOP + _LINE * len(found) + _BOTTOM
    axis = _axis(found, zero=zero)
    at_zero = axis.place(0)
    lines = [
        _line(name, one, axis, _TOP + _LINE * index, decimals=decimals, zero=zero)
        for index, (name, one) in enumerate(found.items())
    ]
    said = "; ".join(f"{name} {interval_text(one, decimals)}" for name, one in found.items())
    return figure(
        f"{title}, with 95 % intervals: {said}.",
        across_grid(axis, title, top=_TOP, bottom=height - _BOTTOM),
        element("line", x1=at_zero, x2=at_zero, y1=_TOP, y2=height - _BOTTOM, class_="zero") if zero else "",
        *lines,
        width=WIDTH,
        height=height,
    )


def _axis(found: Mapping[str, Interval], *, zero: bool) -> Axis:
    ends = [end for one in found.values() for end in (one.low, one.mean, one.high) if end is not None]
    low, high = span([*ends, 0.0] if zero else ends)
    margin = 0.04 * (high - low)
    return linear_axis(low - margin, high + margin, start=_LEFT, end=WIDTH - _RIGHT, most=4)


def _line(name: str, one: Interval, axis: Axis, y: float, *, decimals: int, zero: bool) -> str:
    middle, write = y + 32, signed if zero else score
    parts = [
        tooltip(f"{name}: {interval_text(one, decimals)}"),
        text(fit(name, _LETTERS), 2, y + 19, class_="name over"),
        text(write(one.mean, decimals), WIDTH - 4, middle + 5, class_="number", anchor="end"),
    ]
    if one.low is not None and one.high is not None:
        left, right = axis.place(one.low), axis.place(one.high)
        parts.append(element("line", x1=left, x2=right, y1=middle, y2=middle, class_="whisker"))
    if math.isfinite(one.mean):
        parts.append(marker("fusion", axis.place(one.mean), middle))
    return element("g", *parts, class_="entry fusion")
