"""The score against one swept number on one data set: a mean, its interval, and where the optimum is."""

import math
from collections.abc import Callable, Sequence

from fuseloom.comparison.sweep import Cell, Course
from fuseloom.metrics.interval import Interval
from fuseloom.report.experiments.tables import course_decimals
from fuseloom.report.frame import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, across_grid, up_grid
from fuseloom.report.series import Dot, legend, legend_height, series
from fuseloom.report.svg import Axis, element, figure, linear_axis, span
from fuseloom.report.words import interval_text

__all__ = ["sweep_curve"]

_DECADES = 1.3
_HALF = 7.0


def sweep_curve(course: Course, key: str) -> str:
    """Test and validation score against a setting of numbers, as inline SVG.

    A ring marks what is best by validation, a stripe what validation rows do not show to be worse.

    Args:
        course: Of one data set.
        key: The setting.
    """
    places = course_decimals(course)
    values = {cell.settings[key]: float(cell.settings[key]) for cell in course.cells}
    cells = sorted(course.cells, key=lambda cell: values[cell.settings[key]])
    position = _positions(sorted(values.values()))
    across = _axis({text: position(value) for text, value in values.items()})
    up = _score_axis(cells)
    at = [position(values[cell.settings[key]]) for cell in cells]
    best = course.cells[0]
    test = [
        Dot(at=x, value=c.test, said=f"{key}={c.settings[key]}", ring="best" if c is best else "")
        for x, c in zip(at, cells, strict=True)
    ]
    valid = [
        Dot(at=x, value=Interval(mean=c.valid.mean), said=f"{key}={c.settings[key]}, validation")
        for x, c in zip(at, cells, strict=True)
    ]
    stripes = [
        _stripe(across.place(x)) for x, c in zip(at, cells, strict=True) if c.contender and len(c.runs) > 1
    ]
    names = ["test, with the interval over seeds" if len(best.runs) > 1 else "test", "validation"]
    return figure(
        f"{course.metric} on {course.data} against {key}: best by validation at {best.settings[key]}, "
        f"test {interval_text(best.test, places)}.",
        *stripes,
        up_grid(up, f"{course.metric} ({'↑' if course.higher_is_better else '↓'} better)"),
        across_grid(across, key, top=TOP, bottom=BOTTOM),
        series(valid, across, up, index=1, decimals=places),
        series(test, across, up, index=0, decimals=places),
        *legend(names),
        width=WIDTH,
        height=HEIGHT + legend_height(len(names)),
    )


def _positions(values: Sequence[float]) -> Callable[[float], float]:
    """Where values stand: evenly by their logarithm or their rank where they differ by powers of ten."""
    positive = [value for value in values if value > 0]
    if not positive or math.log10(positive[-1] / positive[0]) < _DECADES:
        return float
    if len(positive) == len(values):
        return math.log10
    return values.index


def _axis(places: dict[str, float]) -> Axis:
    """Through all values, each with its label."""
    low, high = span(places.values())
    margin = 0.06 * (high - low) or 0.5
    ticks = sorted((place, label) for label, place in places.items())
    return Axis(low=low - margin, high=high + margin, start=LEFT, end=RIGHT, ticks=tuple(ticks))


def _score_axis(cells: Sequence[Cell]) -> Axis:
    """Through all means, and through intervals as far as these do not hide how the means differ."""
    means = [one.mean for cell in cells for one in (cell.test, cell.valid)]
    low, high = span(means)
    room = 1.5 * (high - low) or math.inf
    ends = [end for cell in cells for end in (cell.test.low, cell.test.high) if end is not None]
    low, high = span([low, high, *(min(max(end, low - room), high + room) for end in ends)])
    margin = 0.05 * (high - low)
    return linear_axis(low - margin, high + margin, start=BOTTOM, end=TOP)


def _stripe(x: float) -> str:
    return element("rect", x=x - _HALF, y=TOP, width=2 * _HALF, height=BOTTOM - TOP, class_="band")
