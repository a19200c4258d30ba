"""Partial effects: what a regression expects along one modality, a line for each value of another."""

from collections.abc import Sequence

from fuseloom.diagnose.interaction_regression import InteractionRegression, PartialEffect
from fuseloom.report.frame import HEIGHT, LEFT, LETTER, RIGHT, TOP, WIDTH, across_grid, up_grid
from fuseloom.report.regression import moderated_pairs, number
from fuseloom.report.series import legend, legend_height
from fuseloom.report.svg import Axis, element, figure, linear_axis, span, tooltip
from fuseloom.report.words import columns, fit

__all__ = ["effects"]

_BOTTOM = HEIGHT - 52.0
_TITLE = int((RIGHT - LEFT) / LETTER) - 3
_GAP = 20.0
_MOST_PAIRS = 6
_LEVELS = ("low", "middle", "high")


def effects(regression: InteractionRegression) -> list[tuple[str, str]]:
    """A figure per pair of modalities, at most six: a title, and lines with their shades as inline SVG.

    Args:
        regression: Of some data.
    """
    found = []
    for modality, moderator in moderated_pairs(regression)[:_MOST_PAIRS]:
        lines = [one for one in regression.effects if (one.modality, one.moderator) == (modality, moderator)]
        found.append((f"{modality} by {moderator}", _figure(regression, lines)))
    return found


def _figure(regression: InteractionRegression, lines: Sequence[PartialEffect]) -> str:
    ends = [value for line in lines for value in (*line.low, *line.high)]
    low, high = span(ends)
    margin = 0.04 * (high - low)
    up = linear_axis(low - margin, high + margin, start=_BOTTOM, end=TOP)
    # A target may be in millions, and its labels wider than those of a score.
    left = max(LEFT, _GAP + LETTER * max(columns(label) for _, label in up.ticks))
    across = linear_axis(lines[0].x[0], lines[0].x[-1], start=left, end=RIGHT, most=5)
    return figure(
        _label(regression, lines),
        up_grid(up, fit(_measure(regression), _TITLE), left=left),
        across_grid(across, fit(lines[0].modality, _TITLE), top=TOP, bottom=_BOTTOM),
        *[_line(line, across, up, index) for index, line in enumerate(lines)],
        *legend([_entry(line, place, len(lines)) for place, line in enumerate(lines)]),
        width=WIDTH,
        height=HEIGHT + legend_height(len(lines)),
    )


def _measure(regression: InteractionRegression) -> str:
    return regression.target if regression.family == "linear" else f"probability of {regression.target}"


def _line(line: PartialEffect, across: Axis, up: Axis, index: int) -> str:
    upper = _points(line.x, line.high, across, up)
    lower = _points(line.x, line.low, across, up)
    return element(
        "g",
        tooltip(f"{_named(line)}: {number(line.expected[0])} to {number(line.expected[-1])}"),
        element("polygon", points=" ".join([*upper, *reversed(lower)])),
        element("polyline", points=" ".join(_points(line.x, line.expected, across, up))),
        class_=f"decay series-{index}",
    )


def _points(x: Sequence[float], y: Sequence[float], across: Axis, up: Axis) -> list[str]:
    return [f"{across.place(at):.1f},{up.place(value):.1f}" for at, value in zip(x, y, strict=True)]


def _entry(line: PartialEffect, place: int, count: int) -> str:
    """Both values of a moderator speak for themselves; of three it is said which is which."""
    return _named(line) if count == 2 else f"{_named(line)} ({_LEVELS[place]})"


def _named(line: PartialEffect) -> str:
    return f"{line.moderator} = {number(line.value)}"


def _label(regression: InteractionRegression, lines: Sequence[PartialEffect]) -> str:
    first = lines[0]
    shown = "; ".join(
        f"{number(line.expected[0])} to {number(line.expected[-1])} where {_named(line)}" for line in lines
    )
    return (
        f"Expected {_measure(regression)} as {first.modality} goes from {number(first.x[0])} to "
        f"{number(first.x[-1])}: {shown}."
    )
