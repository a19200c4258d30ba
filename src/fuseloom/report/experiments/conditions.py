"""What variants score under conditions, such as the weather or a sensor that fails, as rows of text."""

import numpy as np

from fuseloom.comparison.variants import Variants
from fuseloom.report.experiments.tables import data_names
from fuseloom.report.tables import Table
from fuseloom.report.words import score

__all__ = ["conditions_table"]

_SPLITS = ("valid", "test")
_DIGITS = 3


def conditions_table(variants: Variants) -> Table | None:
    """A row for each variant on each data set, a column for each condition; None where none was scored.

    Args:
        variants: Finished ones.
    """
    rows = [(table, one) for table in variants.tables for one in table.variants]
    found = dict.fromkeys(
        name for _, one in rows for run in one.runs for name in run.scores if name not in _SPLITS
    )
    if not found:
        return None
    sources = [table.data for table in variants.tables]
    names = dict(zip(sources, data_names(sources), strict=True))
    cells = tuple(
        (
            names[table.data],
            one.name,
            *(
                score(_mean([run.scores.get(name, {}).get(table.metric) for run in one.runs]), _DIGITS)
                for name in found
            ),
        )
        for table, one in rows
    )
    metrics = ", ".join(dict.fromkeys(table.metric for table in variants.tables))
    over = f", means over {variants.seeds} seeds" if variants.seeds > 1 else ""
    note = f"Test {metrics} under conditions{over}."
    return Table(head=("data", "variant", *found), rows=cells, words=2, note=note)


def _mean(scores: list[float | None]) -> float | None:
    """None where any run has no score."""
    known = [value for value in scores if value is not None]
    return float(np.mean(known)) if known and len(known) == len(scores) else None
