"""What sweeps and variants found, for the terminal."""

import textwrap
from collections.abc import Iterator

from fuseloom.comparison.sweep import Sweep
from fuseloom.comparison.variants import Variants
from fuseloom.report.experiments.conditions import conditions_table
from fuseloom.report.experiments.costs import costs_table
from fuseloom.report.experiments.tables import data_names, optimum_saying, sweep_table, variants_table
from fuseloom.report.experiments.watched import watched_table
from fuseloom.report.tables import Table
from fuseloom.report.words import columns, printable

__all__ = ["sweep_text", "variants_text"]

_WIDTH = 100


def sweep_text(sweep: Sweep) -> str:
    """The table of a sweep, and below it the optimum on each data set; ends without a newline.

    Args:
        sweep: A finished one.
    """
    names = data_names(course.data for course in sweep.courses)
    said = [optimum_saying(course, name) for course, name in zip(sweep.courses, names, strict=True)]
    return "\n\n".join([_table(sweep_table(sweep)), *map(_wrapped, said)])


def variants_text(variants: Variants) -> str:
    """The table of variants, and below it their scores under conditions, costs, and what training showed.

    It ends without a newline.

    Args:
        variants: Finished ones.
    """
    more = (conditions_table(variants), costs_table(variants), watched_table(variants))
    tables = [variants_table(variants), *more]
    return "\n\n".join(_table(one) for one in tables if one is not None)


def _table(table: Table) -> str:
    return "\n".join([*_lines(table), "", _wrapped(table.note)])


def _lines(table: Table) -> Iterator[str]:
    rows = [[printable(cell) for cell in row] for row in (table.head, *table.rows)]
    widths = [max(map(columns, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = []
        for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
            blank = " " * (width - columns(cell))
            cells.append(cell + blank if place < table.words else blank + cell)
        yield "  ".join(cells).rstrip()


def _wrapped(text: str) -> str:
    return textwrap.fill(printable(text), _WIDTH, break_on_hyphens=False)
