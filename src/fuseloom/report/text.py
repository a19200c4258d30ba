"""The leaderboard for the terminal: at most 100 columns, no colours, no control characters."""

import textwrap
from collections.abc import Iterator, Sequence

from fuseloom.comparison.result import Comparison, Entry
from fuseloom.diagnose.reliance import Reliance
from fuseloom.report.cooperation import gains_table, treated_fusions
from fuseloom.report.words import (
    columns,
    compact,
    fit,
    interval_text,
    mean_of,
    megabytes,
    milliseconds,
    printable,
    runs,
    score,
    score_decimals,
    seconds,
    signed,
    spread,
)

__all__ = ["leaderboard_text"]

_WIDTH = 100
_NARROWEST_NAME = 16
_LEFT = frozenset({"", "Model", "Role", "Modality", "Remedy", "Does it help?"})


def leaderboard_text(comparison: Comparison) -> str:
    """The result of a comparison for a terminal: table, recommendation, reliance; ends without a newline.

    Args:
        comparison: A finished comparison.
    """
    decimals = score_decimals(comparison)
    blocks = [
        _wrapped(_headline(comparison)),
        "\n".join(_table(_leaderboard(comparison, decimals))),
        _wrapped(_legend(comparison)),
        _wrapped(f"Recommendation: {comparison.recommendation.sentence}"),
        _wrapped(f"Verdict: {comparison.recommendation.verdict}."),
        *(_reliance_block(reliance, decimals) for reliance in comparison.reliance),
        *(_wrapped(line) for line in _findings(comparison, decimals)),
        *_remedies(comparison, decimals),
    ]
    return "\n\n".join(blocks)


def _headline(comparison: Comparison) -> str:
    direction = "higher" if comparison.higher_is_better else "lower"
    rows = sum(comparison.data.rows.values())
    return (
        f"{comparison.data.name}: {comparison.task} of {comparison.data.target}, {rows:,} rows, "
        f"{comparison.metric} ({direction} is better), {runs(comparison)}, {seconds(comparison.total_s)}"
    )


def _leaderboard(comparison: Comparison, decimals: int) -> list[list[str]]:
    metric = printable(comparison.metric)
    head = ["", "Model", "Role", f"Test {metric}", "Valid", "Params", "Train", "Predict", "Memory"]
    marks = ("*" if entry.name == comparison.recommendation.name else "" for entry in comparison.entries)
    rows = [[mark, *_cells(entry, decimals)] for mark, entry in zip(marks, comparison.entries, strict=True)]
    return [head, *rows]


def _cells(entry: Entry, decimals: int) -> list[str]:
    return [
        printable(entry.name),
        entry.role,
        interval_text(entry.test, decimals),
        score(entry.valid.mean, decimals),
        compact(entry.parameters),
        seconds(entry.train_s),
        milliseconds(entry.latency_ms),
        megabytes(entry.memory_mb),
    ]


def _legend(comparison: Comparison) -> str:
    parts = ["* recommended", "sorted by validation score"]
    if any(entry.test.low is not None for entry in comparison.entries):
        parts.append(f"[low, high] = 95 % interval over {spread(comparison)}")
    return "; ".join([*parts, "Train per run, Predict per row, Memory of one training step."])


def _reliance_block(reliance: Reliance, decimals: int) -> str:
    title = (
        f"What {reliance.model} leans on: how much worse its {reliance.metric} of "
        f"{score(reliance.score.mean, decimals)} gets when a modality is hidden, its rows are shuffled, or "
        "its values are noise"
    )
    rows = [
        [
            "",
            printable(name),
            *(
                signed(mean_of(drops.get(name)), decimals)
                for drops in (reliance.hidden, reliance.shuffled, reliance.noise)
            ),
        ]
        for name in reliance.hidden
    ]
    table = _table([["", "Modality", "Hidden", "Shuffled", "Noise"], *rows])
    return "\n".join([_wrapped(title), *table])


def _findings(comparison: Comparison, decimals: int) -> Iterator[str]:
    """A line each on what the recommended model does with less, and on its probabilities."""
    name = comparison.recommendation.name
    for subsets in comparison.findings.subsets:
        if subsets.model == name:
            single = [one for one in subsets.scores if len(one.modalities) == 1]
            parts = (f"{one.modalities[0]} {score(one.score.mean, decimals)}" for one in single)
            yield f"{name} given one modality only, {subsets.metric}: {', '.join(parts)}"
    for one in comparison.findings.calibration:
        if one.model == name:
            yield (
                f"Calibration error of {name}: {one.before.error:.3f}; {one.after.error:.3f} with "
                f"temperature {one.temperature:.2f}, fitted on validation rows"
            )


def _remedies(comparison: Comparison, decimals: int) -> Iterator[str]:
    """What remedies gain, a table for each fusion."""
    found = comparison.findings.cooperation
    if found is None:
        return
    yield _wrapped(f"Remedies: {found.sentence}")
    for fusion, group in treated_fusions(found).items():
        table = gains_table(group, comparison.metric, decimals)
        rows = [["", *row] for row in (table.head, *table.rows)]
        yield "\n".join([printable(fusion), *_table(rows)])


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a table; where it would be wider than the page, names are cut, then last columns left out."""
    while (room := _room_for_names(rows)) < _NARROWEST_NAME:
        rows = [row[:-1] for row in rows]
    head = rows[0]
    cut = [[row[0], fit(row[1], room), *row[2:]] for row in rows]
    widths = [_column_width(cut, index) for index in range(len(head))]
    for row in cut:
        cells = (
            _pad(cell, width, left=title in _LEFT)
            for cell, width, title in zip(row, widths, head, strict=True)
        )
        yield "  ".join(cells).rstrip()


def _room_for_names(rows: Sequence[Sequence[str]]) -> int:
    others = [_column_width(rows, index) for index in range(len(rows[0])) if index != 1]
    return _WIDTH - sum(others) - 2 * len(others)


def _column_width(rows: Sequence[Sequence[str]], index: int) -> int:
    return max(columns(row[index]) for row in rows)


def _pad(cell: str, width: int, *, left: bool) -> str:
    blank = " " * (width - columns(cell))
    return cell + blank if left else blank + cell


def _wrapped(text: str) -> str:
    return textwrap.fill(printable(text), _WIDTH, break_on_hyphens=False)
