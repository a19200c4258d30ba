"""Dot-and-whisker chart: one line per model with its mean, interval and seeds."""

import math
from dataclasses import dataclass
from itertools import chain

from fuseloom.comparison.result import Comparison, Entry
from fuseloom.report.frame import WIDTH, across_grid
from fuseloom.report.scale import in_scale
from fuseloom.report.svg import Axis, element, figure, linear_axis, marker, span, text, tooltip
from fuseloom.report.words import fit, interval_text, score, score_decimals

__all__ = ["NARROW", "WIDE", "Layout", "whiskers"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where things stand, in units of the drawing."""

    width: float
    left: float
    """Start of the scores; names stand before it, or above the line where it is small."""
    right: float
    """Width of the column of numbers."""
    line: float
    """Height per model."""
    letters: int
    """Longest name."""
    names_above: float
    """How far the name stands above its dots."""


WIDE = Layout(width=1000, left=310, right=84, line=30, letters=34, names_above=0)
NARROW = Layout(width=WIDTH, left=12, right=70, line=54, letters=34, names_above=20)
_TOP = 8.0
_BOTTOM = 52.0


def whiskers(comparison: Comparison, layout: Layout, *, class_: str) -> str:
    """The test scores of all models as inline SVG, in the order of the leaderboard.

    Args:
        comparison: A finished comparison.
        layout: `WIDE` or `NARROW`.
        class_: Class of the drawing, by which the page shows the one that fits.
    """
    height = _TOP + layout.line * len(comparison.entries) + _BOTTOM
    axis = _axis(comparison, layout)
    lines = [
        _line(comparison, entry, axis, layout, _TOP + layout.line * (index + 0.5))
        for index, entry in enumerate(comparison.entries)
    ]
    return figure(
        _label(comparison),
        _grid(axis, height, comparison),
        *lines,
        width=layout.width,
        height=height,
        class_=class_,
    )


def _axis(comparison: Comparison, layout: Layout) -> Axis:
    shown = in_scale(comparison)
    low, high = span(entry.test.mean for entry in shown)
    # An interval from two seeds can be wider than everything else together: its end becomes an arrow.
    room = 0.6 * (high - low) or math.inf
    ends = chain.from_iterable((*entry.test_by_run, entry.test.low, entry.test.high) for entry in shown)
    near = [end for end in ends if end is not None and low - room <= end <= high + room]
    low, high = span([low, high, *near])
    margin = 0.03 * (high - low)
    most = 8 if layout.names_above == 0 else 4
    return linear_axis(
        low - margin, high + margin, start=layout.left, end=layout.width - layout.right - 14, most=most
    )


def _label(comparison: Comparison) -> str:
    decimals = score_decimals(comparison)
    scores = "; ".join(
        f"{entry.name} {interval_text(entry.test, decimals)}" for entry in comparison.entries[:10]
    )
    more = len(comparison.entries) - 10
    rest = f"; and {more} more, all in the table above" if more > 0 else ""
    return f"Test {comparison.metric} with 95 % intervals: {scores}{rest}."


def _grid(axis: Axis, height: float, comparison: Comparison) -> str:
    direction = "better →" if comparison.higher_is_better else "← better"
    title = f"test {comparison.metric} ({direction})"
    return across_grid(axis, title, top=_TOP, bottom=height - _BOTTOM)


def _line(comparison: Comparison, entry: Entry, axis: Axis, layout: Layout, y: float) -> str:
    decimals = score_decimals(comparison)
    chosen = entry.name == comparison.recommendation.name
    name = ("★ " if chosen else "") + fit(entry.name, layout.letters)
    dots_y = y + layout.names_above / 2 - 2
    name_at = (layout.left - 16, y + 5, "end") if layout.names_above == 0 else (2, y - 6, "start")
    band = element("rect", x=0, y=y - layout.line / 2, width=layout.width, height=layout.line, class_="band")
    return element(
        "g",
        tooltip(f"{entry.name}: {interval_text(entry.test, decimals)}"),
        band if chosen else "",
        text(name, name_at[0], name_at[1], class_="name", anchor=name_at[2]),
        _whisker(entry, axis, dots_y),
        _dots(entry, axis, dots_y, chosen=chosen),
        text(score(entry.test.mean, decimals), layout.width - 4, dots_y + 6, class_="number", anchor="end"),
        class_=f"entry {entry.role}{' chosen' if chosen else ''}",
    )


def _whisker(entry: Entry, axis: Axis, y: float) -> str:
    low, high = entry.test.low, entry.test.high
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    left, right = axis.place(low), axis.place(high)
    line = element("line", x1=left, x2=right, y1=y, y2=y, class_="whisker")
    return line + _end(left, y, -1, cut=low < axis.low) + _end(right, y, 1, cut=high > axis.high)


def _end(x: float, y: float, side: int, *, cut: bool) -> str:
    """The end of a whisker: a cap, or an arrow where the interval goes on beyond the axis."""
    if cut:
        return element("path", d=f"M{x:.1f} {y - 4:.1f}l{6 * side} 4l{-6 * side} 4z", class_="arrow")
    return element("line", x1=x, x2=x, y1=y - 4, y2=y + 4, class_="whisker")


def _dots(entry: Entry, axis: Axis, y: float, *, chosen: bool) -> str:
    mean = entry.test.mean
    if not math.isfinite(mean):
        return text("no finite score", axis.start + 4, y + 4, class_="tick")
    if not axis.shows(mean):
        side = 1 if mean > axis.high else -1
        return _end(axis.place(mean), y, side, cut=True)
    seeds = (
        element("circle", cx=axis.place(value), cy=y + 8, r=2.2, class_="seed")
        for value in entry.test_by_run
        if math.isfinite(value) and axis.shows(value) and len(entry.test_by_run) > 1
    )
    return marker(entry.role, axis.place(mean), y, size=7 if chosen else 5) + "".join(seeds)
