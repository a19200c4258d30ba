"""What was seen of variants while they trained, as rows of text."""

import math
import statistics
from collections.abc import Sequence

from fuseloom.comparison.variants import Variants
from fuseloom.comparison.watched import WatchedQuantity, watched_quantities
from fuseloom.report.experiments.costs import COSTS
from fuseloom.report.experiments.tables import data_names
from fuseloom.report.tables import Table
from fuseloom.report.words import decimals_for, interval_text, range_text, signed

__all__ = ["watched_table"]

Row = tuple[str, ...]


def watched_table(variants: Variants) -> Table | None:
    """A row for each quantity and variant on each data set; None where nothing but costs was watched.

    Args:
        variants: Finished ones.
    """
    found = [one for one in watched_quantities(variants) if one.watcher != COSTS]
    if not found:
        return None
    sources = [table.data for table in variants.tables]
    names = dict(zip(sources, data_names(sources), strict=True))
    rows = tuple((names[one.data], one.quantity, one.variant, *_numbers(one, found)) for one in found)
    against = f"against {variants.reference}"
    note = (
        f"First, middle and last: epochs of each run; 95 % intervals over seeds. {against.capitalize()}: the "
        "difference at the last epoch, seed by seed."
    )
    head = ("data", "seen", "variant", "first", "middle", "last", against, "95 % interval")
    return Table(head=head, rows=rows, words=3, note=note)


def _numbers(one: WatchedQuantity, every: Sequence[WatchedQuantity]) -> Row:
    alike = [other for other in every if (other.data, other.quantity) == (one.data, one.quantity)]
    decimals = _decimals([value.mean for other in alike for value in (other.first, other.middle, other.last)])
    course = (interval_text(value, decimals) for value in (one.first, one.middle, one.last))
    if one.against is None:
        return (*course, "", "")
    against = one.against
    return (*course, signed(against.mean, decimals), range_text(against, decimals, write=signed))


def _decimals(means: Sequence[float]) -> int:
    sizes = [abs(mean) for mean in means if math.isfinite(mean) and mean != 0]
    return decimals_for(statistics.median(sizes or [0.0]))
