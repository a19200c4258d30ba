"""Several lines in one plot: dots with their intervals as shades, and a legend below."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fuseloom.metrics.interval import Interval
from fuseloom.report.frame import HEIGHT, LETTER, WIDTH
from fuseloom.report.svg import Axis, element, text, tooltip
from fuseloom.report.words import fit, interval_text

__all__ = ["Dot", "legend", "legend_height", "series"]

_LEGEND = 26.0
_LETTERS = int((WIDTH - 44) / LETTER) - 1
_MOST_COLOURS = 5


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One estimate of a line."""

    at: float
    """Its place from left to right, in the values of the axis."""
    value: Interval
    said: str
    """What a pointer that rests on it shows before the estimate."""
    ring: str = ""
    """Class of the ring around it; empty where there is none."""


def series(dots: Sequence[Dot], across: Axis, up: Axis, *, index: int, decimals: int) -> str:
    """A line; where an estimate is not finite it has no dot.

    Args:
        dots: From left to right.
        across: From left to right.
        up: From the bottom up.
        index: Of the line in the plot, which gives its colour and its dashes.
        decimals: Of what a pointer shows.
    """
    known = [dot for dot in dots if math.isfinite(dot.value.mean)]
    points = " ".join(f"{across.place(dot.at):.1f},{up.place(dot.value.mean):.1f}" for dot in known)
    marks = [
        element(
            "circle",
            tooltip(f"{dot.said}: {interval_text(dot.value, decimals)}"),
            cx=across.place(dot.at),
            cy=up.place(dot.value.mean),
            r=7 if dot.ring else 3,
            class_=dot.ring or "dot",
        )
        for dot in known
    ]
    line = element("polyline", points=points)
    return element("g", _band(known, across, up), line, *marks, class_=f"decay {_colour(index)}")


def _colour(index: int) -> str:
    return f"series-{index % _MOST_COLOURS}"


def _band(dots: Sequence[Dot], across: Axis, up: Axis) -> str:
    ends = [
        (across.place(dot.at), dot.value.low, dot.value.high)
        for dot in dots
        if dot.value.low is not None and dot.value.high is not None
    ]
    upper = [f"{x:.1f},{up.place(high):.1f}" for x, _, high in ends]
    lower = [f"{x:.1f},{up.place(low):.1f}" for x, low, _ in reversed(ends)]
    return element("polygon", points=" ".join([*upper, *lower])) if len(ends) > 1 else ""


def legend(names: Sequence[str]) -> list[str]:
    """A line of text for each line of the plot, below a plot of the usual height."""
    return [_entry(name, index) for index, name in enumerate(names)]


def legend_height(count: int) -> float:
    """By how much a plot of the usual height grows for the legend of so many lines."""
    return _LEGEND * count + 6


def _entry(name: str, index: int) -> str:
    y = HEIGHT + 8 + _LEGEND * index
    line = element("polyline", points=f"2.0,{y:.1f} 34.0,{y:.1f}")
    return element(
        "g", line, text(fit(name, _LETTERS), 42, y + 5, class_="name"), class_=f"decay {_colour(index)}"
    )
