"""A diagnosis for the terminal: of each part its title, one sentence and the numbers, 80 columns wide."""

import textwrap
from collections.abc import Iterator, Sequence

from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.report.panels import Panel, Part, diagnosis_decimals, panels
from fuseloom.report.tables import Table
from fuseloom.report.words import columns, fit, printable

__all__ = ["diagnosis_text"]

_WIDTH = 80
_MOST_ROWS = 24
_NARROWEST = 6
_WIDEST_NUMBER = 24


def diagnosis_text(diagnosis: Diagnosis, decimals: int | None = None) -> str:
    """What a closer look at a model says, as text of at most 80 columns; ends with a newline.

    Args:
        diagnosis: Of one model.
        decimals: Of scores; by default as many as give the model's own three or four digits.
    """
    places = diagnosis_decimals(diagnosis) if decimals is None else decimals
    blocks = [_wrapped(_headline(diagnosis))]
    for panel in panels(diagnosis, places):
        blocks += [*map(_block, panel.parts), *_reasons(panel)]
    return "\n\n".join(blocks) + "\n"


def _headline(diagnosis: Diagnosis) -> str:
    modalities = ", ".join(diagnosis.modalities)
    return f"{diagnosis.model}: {diagnosis.metric} on {diagnosis.rows:,} rows of {modalities}"


def _block(part: Part) -> str:
    title = printable(part.title)
    lines = [title, "-" * columns(title), _wrapped(part.sentence), "", *_noted(part.table)]
    for name, table in part.details:
        lines += ["", printable(name), *_noted(table)]
    return "\n".join(lines)


def _reasons(panel: Panel) -> Iterator[str]:
    for title, reason in panel.not_told:
        yield _wrapped(f"{title}: not told. {reason}")


def _noted(table: Table) -> Iterator[str]:
    yield from _table(table)
    if table.note:
        yield _wrapped(table.note)


def _table(table: Table) -> Iterator[str]:
    """Lines of a table; words are cut where it would be wider than the page, long tables after some rows."""
    rows = [[printable(cell) for cell in row] for row in (table.head, *table.rows[:_MOST_ROWS])]
    widths = _widths(rows, table.words)
    for row in rows:
        cells = [
            _pad(fit(cell, width) if columns(cell) > width else cell, width, left=place < table.words)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
    if len(table.rows) > _MOST_ROWS:
        yield f"... and {len(table.rows) - _MOST_ROWS:,} more rows, all in the JSON"


def _widths(rows: Sequence[Sequence[str]], words: int) -> list[int]:
    """Of each column; those of words share what the numbers leave, the widest giving way first."""
    widths = [max(columns(row[place]) for row in rows) for place in range(len(rows[0]))]
    widths[words:] = [min(width, _WIDEST_NUMBER) for width in widths[words:]]
    while sum(widths) + 2 * (len(widths) - 1) > _WIDTH and max(widths[:words]) > _NARROWEST:
        widths[max(range(words), key=lambda place: widths[place])] -= 1
    return widths


def _pad(cell: str, width: int, *, left: bool) -> str:
    blank = " " * (width - columns(cell))
    return cell + blank if left else blank + cell


def _wrapped(text: str) -> str:
    return textwrap.fill(printable(text), _WIDTH, break_on_hyphens=False)
