"""What variants cost while they trained, a row for each, beside the reference."""

import math
import statistics
from collections.abc import Sequence

from fuseloom.comparison.over_seeds import over_seeds
from fuseloom.comparison.variants import Variant, Variants, VariantTable
from fuseloom.comparison.watching import Seen
from fuseloom.metrics.interval import Interval
from fuseloom.report.experiments.tables import data_names
from fuseloom.report.tables import Table
from fuseloom.report.words import ABSENT, decimals_for, interval_text

__all__ = ["COSTS", "costs_table"]

COSTS = "costs"
"""The watcher whose quantities do not change from epoch to epoch."""
_EPOCH = "epoch"


def costs_table(variants: Variants) -> Table | None:
    """A row for each variant on each data set: parameters, times and memory; None where nothing was watched.

    Args:
        variants: Finished ones.
    """
    quantities = list(dict.fromkeys(name for table in variants.tables for name in _quantities(table)))
    if not quantities:
        return None
    names = data_names(table.data for table in variants.tables)
    of = f"/ {variants.reference}"
    head = ("data", "variant", "parameters", of, *(part for name in quantities for part in (name, of)))
    rows = [
        (data, one.name, *_cells(one, table, variants.reference, quantities))
        for data, table in zip(names, variants.tables, strict=True)
        for one in table.variants
    ]
    seeds = " Mean over seeds, with its 95 % interval." if variants.seeds > 1 else ""
    note = (
        "A step: forward, backward and AdamW on so many validation rows; the peak is that of the first two. "
        "A row: its prediction, with as many at once. Each run: the median over its epochs. "
        f"{of}: divided by what {variants.reference} takes.{seeds}"
    )
    return Table(head=head, rows=tuple(rows), words=2, note=note)


def _quantities(table: VariantTable) -> list[str]:
    seen = [one for variant in table.variants for run in variant.runs for one in run.watched.get(COSTS, ())]
    return [name for one in seen for name in one if name != _EPOCH]


def _cells(one: Variant, table: VariantTable, reference: str, quantities: Sequence[str]) -> list[str]:
    (whole,) = (other for other in table.variants if other.name == reference)
    cells = [f"{one.parameters:,}", _share(one.parameters, whole.parameters)]
    for name in quantities:
        column = [_cost(other, name) for other in table.variants]
        typical = [value.mean for value in column if math.isfinite(value.mean)]
        cost = _cost(one, name)
        cells += [
            interval_text(cost, decimals_for(statistics.median(typical or [0.0]))),
            _share(cost.mean, _cost(whole, name).mean),
        ]
    return cells


def _cost(one: Variant, name: str) -> Interval:
    return over_seeds([_median(run.watched.get(COSTS, ()), name) for run in one.runs])


def _median(seen: Sequence[Seen], name: str) -> float:
    values = [value for one in seen if (value := one.get(name)) is not None]
    return statistics.median(values) if values else math.nan


def _share(value: float, whole: float) -> str:
    return f"{value / whole:.2f}" if math.isfinite(value) and whole > 0 else ABSENT
