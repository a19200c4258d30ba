"""A sweep as one HTML page that loads nothing and runs nothing: curves or a map of scores, and the table."""

import math
from dataclasses import dataclass

from fuseloom.comparison.sweep import Cell, Course, Sweep
from fuseloom.report.experiments.curve import sweep_curve
from fuseloom.report.experiments.tables import (
    as_numbers,
    course_decimals,
    data_names,
    optimum_saying,
    setting_names,
    sweep_table,
)
from fuseloom.report.page import environment, resource
from fuseloom.report.svg import span
from fuseloom.report.words import interval_text, score

__all__ = ["to_sweep_html"]

_STRONGEST = 45
Grid = list[list["_Square"]]


@dataclass(frozen=True, kw_only=True)
class _Square:
    """One score of a map."""

    shown: str
    said: str
    share: float
    """Of the accent colour, in percent."""


@dataclass(frozen=True, kw_only=True)
class _View:
    """What the page shows of one data set."""

    name: str
    saying: str
    curve: str
    """Inline SVG; empty where no single setting of numbers is swept."""
    squares: Grid
    """Row by row; empty where not two settings are swept."""


def to_sweep_html(sweep: Sweep) -> str:
    """What a sweep found, as a page: one file, no request to anywhere, no script.

    One setting of numbers is drawn as a curve for each data set, two settings as a map of the mean test
    scores; others stand in the table only.

    Args:
        sweep: A finished one.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    names = data_names(course.data for course in sweep.courses)
    page = (
        environment(course_decimals(sweep.courses[0]))
        .get_template("sweep_page.html")
        .render(
            sweep=sweep,
            keys=list(sweep.grid),
            names=setting_names(sweep.grid),
            data=names,
            views=[_view(sweep, course, name) for course, name in zip(sweep.courses, names, strict=True)],
            table=sweep_table(sweep),
            style=resource("style.css"),
        )
    )
    return f"{page}\n"


def _view(sweep: Sweep, course: Course, name: str) -> _View:
    keys = list(sweep.grid)
    drawn = len(keys) == 1 and as_numbers(sweep.grid[keys[0]]) is not None
    return _View(
        name=name,
        saying=optimum_saying(course, name),
        curve=sweep_curve(course, keys[0]) if drawn else "",
        squares=_squares(sweep, course) if len(keys) == 2 else [],
    )


def _squares(sweep: Sweep, course: Course) -> Grid:
    first, second = sweep.grid
    cells = {(cell.settings[first], cell.settings[second]): cell for cell in course.cells}
    return [[_square(cells[one, other], course) for other in sweep.grid[second]] for one in sweep.grid[first]]


def _square(cell: Cell, course: Course) -> _Square:
    decimals = course_decimals(course)
    low, high = span(other.test.mean for other in course.cells)
    share = (cell.test.mean - low) / (high - low) if high > low and math.isfinite(cell.test.mean) else 0.0
    mark = "★ " if cell is course.cells[0] else "○ " if cell.contender and len(cell.runs) > 1 else ""
    test, valid = (interval_text(one, decimals) for one in (cell.test, cell.valid))
    return _Square(
        shown=mark + score(cell.test.mean, decimals),
        said=f"{cell.name}: test {test}, validation {valid}",
        share=round(_STRONGEST * (share if course.higher_is_better else 1 - share), 1),
    )
