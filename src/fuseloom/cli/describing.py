"""Descriptions and checks of data as a terminal shows them."""

from collections.abc import Iterator, Mapping, Sequence
from textwrap import indent, wrap

from fuseloom.data.checks import CheckResult, Finding
from fuseloom.data.description import Description, PartDescription, Range
from fuseloom.report.words import fit, printable

__all__ = ["check_text", "description_text"]

_WIDTH = 100
_MOST_COUNTS = 6
_MOST_PLACES = 10


def description_text(found: Description) -> str:
    """A paragraph for each part of the data."""
    aside = f", {found.set_aside:,} set aside (see: fuseloom data check)" if found.set_aside else ""
    lines = [f"{found.name}: {found.rows:,} rows{aside}, read as {found.source_format}", "", "Target"]
    lines += ["  none"] if found.target is None else list(_part(found.target, found.rows))
    lines += ["", "Modalities"]
    for part in found.modalities:
        lines += _part(part, found.rows)
    lines += ["", "Splits", *(f"  {line}" for line in _splits(found))]
    if found.inferred:
        lines += ["", "Inferred, and how to say otherwise"]
        lines += [line for one in found.inferred for line in _inferred(one.what, one.change)]
    return "\n".join(lines)


def check_text(result: CheckResult) -> str:
    """A paragraph for each finding, and a line that counts them."""
    errors, warnings = result.count("error"), result.count("warning")
    parts = [line for one in result.findings for line in _finding(one)]
    counted = (
        "nothing is wrong" if not result.findings else f"{_of(errors, 'error')}, {_of(warnings, 'warning')}"
    )
    return "\n".join([*parts, f"{result.name}: {result.rows:,} rows, {counted}"])


def _part(part: PartDescription, rows: int, margin: str = "  ") -> Iterator[str]:
    missing = f", missing in {part.missing:,} ({part.missing / rows:.1%})" if part.missing else ""
    where = "" if part.range is None else f", {_range(part.range)}"
    yield printable(f"{margin}{part.name}: {part.kind}, {part.shape}{where}{missing}")
    if part.counts:
        yield from (indent(line, f"{margin}  ") for line in wrap(_counts(part.counts, rows), _WIDTH))
    for example in part.examples:
        yield f"{margin}  e.g. {fit(printable(example), _WIDTH - 10)}"
    for column in part.columns:
        yield from _part(column, rows, f"{margin}  ")


def _range(found: Range) -> str:
    return f"{found.least:.6g} to {found.greatest:.6g}, mean {found.mean:.4g}"


def _counts(counts: Mapping[str, int], rows: int) -> str:
    shown = [f"{printable(name)} {count:,} ({count / rows:.1%})" for name, count in list(counts.items())]
    more = len(shown) - _MOST_COUNTS
    return ", ".join(shown[:_MOST_COUNTS]) + (f" and {more:,} more" if more > 0 else "")


def _splits(found: Description) -> Iterator[str]:
    if not found.splits:
        yield "none given: compare makes them"
    for place, counts in enumerate(found.splits):
        name = f"fold {place}: " if len(found.splits) > 1 else ""
        yield name + ", ".join(f"{split} {count:,}" for split, count in counts.items())
    if found.groups is not None:
        yield f"{found.groups:,} groups, each kept in one split"


def _inferred(what: str, change: str) -> Iterator[str]:
    yield from (indent(line, "  ") for line in wrap(printable(what), _WIDTH))
    if change:
        yield f"    {change}"


def _finding(one: Finding) -> Iterator[str]:
    head = f"{one.severity.upper():7} {one.kind} ({one.count:,}): {one.what}"
    yield from wrap(printable(head), _WIDTH, subsequent_indent=" " * 8)
    yield from (f"        - {fit(printable(place), _WIDTH)}" for place in _first(one.where))
    yield from (indent(line, "        ") for line in wrap(one.advice, _WIDTH))
    yield ""


def _first(places: Sequence[str]) -> list[str]:
    more = len(places) - _MOST_PLACES
    return [*places[:_MOST_PLACES], *([f"and {more:,} more (--json names all)"] if more > 0 else [])]


def _of(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"
