"""What sweeps and variants found, as rows of text, the same on the page and in the terminal."""

import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from fuseloom.comparison.sweep import Cell, Course, Sweep
from fuseloom.comparison.variants import Variant, Variants, VariantTable
from fuseloom.metrics.interval import Interval
from fuseloom.report.tables import Table
from fuseloom.report.words import (
    decimals_for,
    interval_text,
    listed,
    range_text,
    score,
    seconds,
    signed,
)

__all__ = [
    "as_numbers",
    "course_decimals",
    "data_names",
    "optimum_saying",
    "setting_names",
    "sweep_table",
    "variants_decimals",
    "variants_table",
]

_RANGE = "95 % interval"
_MOST_NAMED = 6
_JUDGED = (
    "Worse: the 95 % interval of the difference from the best on validation rows, seed by seed, lies below "
    "zero."
)
Row = tuple[str, ...]


def sweep_table(sweep: Sweep) -> Table:
    """A row for each combination on each data set, the best by validation first.

    Args:
        sweep: A finished one.
    """
    names, metric = data_names(one.data for one in sweep.courses), _shared([c.metric for c in sweep.courses])
    also = list(sweep.courses[0].cells[0].also)
    head = (
        *("data", *([] if metric else ["metric"]), *setting_names(sweep.grid)),
        *(f"test {metric or 'score'}", _RANGE, f"valid {metric or 'score'}", "against best", *also),
    )
    rows = [
        (
            *(name, *([] if metric else [course.metric]), *(cell.settings[key] for key in sweep.grid)),
            *_cell_numbers(cell, course),
            *_also(cell, course.cells),
        )
        for name, course in zip(names, sweep.courses, strict=True)
        for cell in course.cells
    ]
    note = f"{_seeds(sweep.seeds)} {_JUDGED}" if sweep.seeds > 1 else _seeds(sweep.seeds)
    return Table(head=head, rows=tuple(rows), words=1 + (not metric) + len(sweep.grid), note=note)


def _cell_numbers(cell: Cell, course: Course) -> Row:
    decimals = course_decimals(course)
    if cell is course.cells[0]:
        standing = "best"
    elif cell.behind.low is None:
        standing = ""
    else:
        standing = "not shown worse" if cell.contender else "worse"
    test, valid = score(cell.test.mean, decimals), score(cell.valid.mean, decimals)
    return (test, range_text(cell.test, decimals), valid, standing)


def optimum_saying(course: Course, name: str) -> str:
    """Which values are best on a data set, and which validation rows do not show to be worse.

    Args:
        course: Of one data set.
        name: Of that.
    """
    best, decimals = course.cells[0], course_decimals(course)
    if not math.isfinite(best.valid.mean):
        return f"{name}: no run has a validation {course.metric}, so there is no best."
    test = f"test {course.metric} {interval_text(best.test, decimals)}"
    return f"{name}: best by validation is {best.name}{_end(course)}, {test}{_others(course)}."


def _end(course: Course) -> str:
    """Says where the best value is the last one tried on its side, so that better ones may lie beyond."""
    best = course.cells[0]
    values = as_numbers([value for cell in course.cells for value in cell.settings.values()])
    if len(best.settings) > 1 or values is None or len(values) < 3:
        return ""
    return {max(values): ", the largest tried", min(values): ", the smallest tried"}.get(values[0], "")


def _others(course: Course) -> str:
    """What is said of the combinations that are not the best."""
    best, *others = course.cells
    if len(best.runs) == 1 or not others:
        return ""
    contenders = [cell for cell in others if cell.contender]
    if not contenders:
        return "; all others are worse"
    if len(best.settings) > 1 or len(contenders) > _MOST_NAMED:
        return f"; {len(contenders)} of {len(others)} others are not shown to be worse"
    (key,) = best.settings
    return f"; not shown to be worse: {listed(cell.settings[key] for cell in contenders)}"


def variants_table(variants: Variants) -> Table:
    """A row for each variant on each data set, with its difference from the reference.

    Args:
        variants: Finished ones.
    """
    names, metric = (
        data_names(one.data for one in variants.tables),
        _shared([t.metric for t in variants.tables]),
    )
    also = list(variants.tables[0].variants[0].also)
    head = (
        *("data", *([] if metric else ["metric"]), "variant", f"test {metric or 'score'}", _RANGE),
        *(f"against {variants.reference}", _RANGE, *also, "parameters", "training"),
    )
    rows = [
        (
            *(name, *([] if metric else [table.metric]), one.name),
            *_variant_numbers(one, table),
            *_also(one, table.variants),
            f"{one.parameters:,}",
            seconds(one.train_s),
        )
        for name, table in zip(names, variants.tables, strict=True)
        for one in table.variants
    ]
    note = (
        f"Against {variants.reference}: plus is better, seed by seed on test rows. {_seeds(variants.seeds)}"
    )
    return Table(head=head, rows=tuple(rows), words=2 + (not metric), note=note)


def _variant_numbers(one: Variant, table: VariantTable) -> Row:
    decimals = variants_decimals(table)
    test = (score(one.test.mean, decimals), range_text(one.test, decimals))
    if one.gain is None:
        return (*test, "", "")
    return (*test, signed(one.gain.mean, decimals), range_text(one.gain, decimals, write=signed))


def data_names(sources: Iterable[str]) -> list[str]:
    """Data sets as tables call them: a file or folder without where it lies, unless two are then the same.

    Example:
        >>> data_names(["digits", "/data/twitter2017"])
        ['digits', 'twitter2017']
    """
    whole = list(sources)
    short = [Path(source).name or source for source in whole]
    return short if len({*short}) == len(whole) else whole


def setting_names(keys: Iterable[str]) -> list[str]:
    """Settings as tables call them: the last word of each key, unless two are then the same.

    Example:
        >>> setting_names(["model.options.low_rank.rank", "model.dropout"])
        ['rank', 'dropout']
    """
    whole = list(keys)
    short = [key.rpartition(".")[2] for key in whole]
    return short if len({*short}) == len(whole) else whole


def as_numbers(values: Sequence[str]) -> list[float] | None:
    """Swept values as numbers; None where one is something else.

    Example:
        >>> as_numbers(["1e-3", "0.1"]), as_numbers(["sum", "film"])
        ([0.001, 0.1], None)
    """
    try:
        found = [float(value) for value in values]
    except ValueError:
        return None
    return found if all(map(math.isfinite, found)) else None


def course_decimals(course: Course) -> int:
    """Decimals that give the typical test score on a data set three or four digits."""
    return _decimals(cell.test.mean for cell in course.cells)


def variants_decimals(table: VariantTable) -> int:
    """Decimals that give the typical test score of variants three or four digits."""
    return _decimals(one.test.mean for one in table.variants)


def _decimals(means: Iterable[float]) -> int:
    return decimals_for(statistics.median([abs(mean) for mean in means if math.isfinite(mean)] or [0.0]))


def _also(one: Cell | Variant, every: Sequence[Cell | Variant]) -> Row:
    return tuple(_further(value, [other.also[name] for other in every]) for name, value in one.also.items())


def _further(value: Interval, column: Sequence[Interval]) -> str:
    return interval_text(value, _decimals(other.mean for other in column))


def _shared(metrics: Sequence[str]) -> str:
    """The metric of all data sets; empty where they have different ones."""
    return metrics[0] if len({*metrics}) == 1 else ""


def _seeds(count: int) -> str:
    if count == 1:
        return "One seed: nothing is known of other runs, so there are no intervals."
    return f"Means over {count} seeds, with intervals over seeds (Student's t)."
