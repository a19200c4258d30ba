"""What was seen of variants while they trained: at their first, middle and last epoch, over seeds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fuseloom.comparison.over_seeds import over_seeds, paired_by_seed
from fuseloom.comparison.recipe_run import RecipeResult
from fuseloom.comparison.variants import Variant, Variants
from fuseloom.comparison.watching import Seen
from fuseloom.metrics.interval import Interval

__all__ = ["WatchedQuantity", "watched_quantities"]

_EPOCH = "epoch"


@dataclass(frozen=True, kw_only=True)
class WatchedQuantity:
    """How something went in the training of one variant; means over its seeds."""

    data: str
    variant: str
    watcher: str
    """Who saw it."""
    quantity: str
    first: Interval
    """Behind the first epoch."""
    middle: Interval
    """Behind the one in the middle of each run's own."""
    last: Interval
    against: Interval | None
    """The last, less that of the reference, seed by seed; None of that itself, and where it has none."""


def watched_quantities(variants: Variants) -> tuple[WatchedQuantity, ...]:
    """All that was watched, quantity by quantity, so that variants stand below one another.

    Args:
        variants: Finished ones; runs that were not watched have nothing to show.
    """
    found = []
    for table in variants.tables:
        (reference,) = (one for one in table.variants if one.name == variants.reference)
        names = dict.fromkeys(key for one in table.variants for run in one.runs for key in _quantities(run))
        for watcher, quantity in names:
            found += [
                _row(table.data, one, reference, watcher, quantity)
                for one in table.variants
                if all((watcher, quantity) in {*_quantities(run)} for run in one.runs)
            ]
    return tuple(found)


def _quantities(run: RecipeResult) -> Iterator[tuple[str, str]]:
    for watcher, seen in run.watched.items():
        yield from dict.fromkeys((watcher, name) for one in seen for name in one if name != _EPOCH)


def _row(data: str, one: Variant, reference: Variant, watcher: str, quantity: str) -> WatchedQuantity:
    courses = [_course(run.watched[watcher], quantity) for run in one.runs]
    last = [course[-1] for course in courses]
    against = None
    if one is not reference and all((watcher, quantity) in {*_quantities(run)} for run in reference.runs):
        others = [_course(run.watched[watcher], quantity)[-1] for run in reference.runs]
        against = paired_by_seed(last, others)
    return WatchedQuantity(
        data=data,
        variant=one.name,
        watcher=watcher,
        quantity=quantity,
        first=over_seeds([course[0] for course in courses]),
        middle=over_seeds([course[len(course) // 2] for course in courses]),
        last=over_seeds(last),
        against=against,
    )


def _course(seen: Sequence[Seen], quantity: str) -> list[float]:
    """A value for each epoch, NaN where there was none to be seen."""
    values = [one.get(quantity) for one in seen]
    return [float("nan") if value is None else value for value in values]
