"""Tables of what was measured, from the results as JSON holds them."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from contest import PASSES, Size
from timing import unsteady

__all__ = [
    "about",
    "chunk_table",
    "failures",
    "growth_table",
    "heading",
    "losses",
    "marked",
    "product_table",
    "render",
    "speed_table",
]

Result = Mapping[str, Any]

_NOTABLE = 0.1
_LEGEND = "ours: microseconds or kilobytes; / plain, / floor: ours divided by theirs; ~: quartiles far apart"


def render(results: Result) -> str:
    """All tables, one below the other."""
    checks = results.get("checks", {})
    parts = [speed_table(results["speed"]), losses(results["speed"])]
    if failed := results.get("failed"):
        parts.append(failures(failed))
    if growth := results.get("growth"):
        parts.append(growth_table(growth))
    if products := checks.get("low_rank"):
        parts.append(product_table(products))
    if chunks := checks.get("tensor_chunk"):
        parts.append(chunk_table(chunks))
    return "\n\n".join([*parts, about(results)]) + "\n"


def about(results: Result) -> str:
    """What the numbers depend on, in a line."""
    return ", ".join(f"{key} {value}" for key, value in results["environment"].items())


def speed_table(rows: Sequence[Result]) -> str:
    """Times and peak memory, one line per part and size, a heading per type and mode."""
    columns = f"{'ours':>9} {'/ plain':>7} {'/ floor':>7}"
    head = "".join(
        f"  {column:^25}" for column in ("forward, us", "forward + backward, us", "peak memory, kB")
    )
    lines = [_LEGEND]
    for title, group in groupby(rows, heading):
        lines += ["", f"{title:<49}{head}".rstrip(), f"{'':<49}" + f"  {columns}" * 3]
        lines += [_speed_line(row) for row in group]
    return "\n".join(lines)


def heading(row: Result) -> str:
    """Type and mode of a row."""
    return f"{row['dtype']}, {'compiled' if row['compiled'] else 'eager'}"


def _speed_line(row: Result) -> str:
    cells = [_times(row[which]) for which in PASSES] + [_bytes(row["peak_bytes"])]
    return f"{row['part']:<27} {Size(**row['size'])!s:<21}" + "".join(f"  {cell}" for cell in cells)


def _times(times: Mapping[str, Mapping[str, float]]) -> str:
    ratios = [marked(times, rival) for rival in ("plain", "floor")]
    return f"{times['ours']['median_s'] * 1e6:>9.1f} {ratios[0]:>7} {ratios[1]:>7}"


def marked(times: Mapping[str, Mapping[str, float]], rival: str) -> str:
    """Ours divided by the rival, after a ``~`` if either is unsteady."""
    return f"{'~' if _noisy(times, rival) else ''}{_ratio(times, rival):.2f}"


def _ratio(times: Mapping[str, Mapping[str, float]], rival: str) -> float:
    return times["ours"]["median_s"] / times[rival]["median_s"]


def _noisy(times: Mapping[str, Mapping[str, float]], rival: str) -> bool:
    return unsteady(times["ours"]) or unsteady(times[rival])


def _bytes(peak: Mapping[str, int] | None) -> str:
    if peak is None:
        return f"{'-':>9} {'-':>7} {'-':>7}"
    ours = peak["ours"]
    return f"{ours / 1e3:>9.1f} {ours / peak['plain']:>7.2f} {ours / peak['floor']:>7.2f}"


def losses(rows: Sequence[Result]) -> str:
    """How often ours is clearly slower or faster than the plain form, and the worst of each part."""
    found = [
        (_ratio(row[which], "plain"), row["part"], f"{Size(**row['size'])}, {heading(row)}, {which}")
        for row in rows
        for which in PASSES
        if not _noisy(row[which], "plain")
    ]
    slower = sorted((one for one in found if one[0] > 1 + _NOTABLE), reverse=True)
    faster = sum(ratio < 1 / (1 + _NOTABLE) for ratio, _, _ in found)
    counted = (
        f"Of {len(rows) * len(PASSES)} times {len(found)} are steady; in {len(slower)} of these ours takes "
        f"over {_NOTABLE:.0%} longer than plain, in {faster} plain over {_NOTABLE:.0%} longer than ours."
    )
    worst = {part: (ratio, where) for ratio, part, where in reversed(slower)}
    lines = [f"{part:<27} {ratio:>6.2f}  {where}" for part, (ratio, where) in sorted(worst.items())]
    return "\n".join([counted, *(["The worst ours / plain of each:"] if lines else []), *lines])


def failures(rows: Sequence[Result]) -> str:
    """What torch's compiler could not compile: ours, the plain form or the floor."""
    lines = [f"{row['part']:<27} {heading(row)}: {row['error']}" for row in rows]
    return "\n".join(["Not in the table, as torch's compiler failed on one of the three:", *lines])


def growth_table(rows: Iterable[Result]) -> str:
    """Time per sample of ours, forward and backward, relative to the first point; a table per axis."""
    lines: list[str] = []
    for axis, group in groupby(rows, lambda row: row["axis"]):
        members = list(group)
        base = Size(**members[0]["base"])
        values = members[0]["values"]
        lines += ["", f"time per sample, forward + backward, against {axis} ({base} at first)"]
        lines.append(f"{axis:<27}" + "".join(f"{value:>9}" for value in values))
        lines += [_growth_line(row) for row in members]
    return "\n".join(lines[1:])


def _growth_line(row: Result) -> str:
    points = {point["value"]: point for point in row["points"]}
    cells = [_grown(points[value], row["points"][0]) if value in points else "-" for value in row["values"]]
    return f"{row['part']:<27}" + "".join(f"{cell:>9}" for cell in cells)


def _grown(point: Result, first: Result) -> str:
    per_sample, at_first = (one["times"]["median_s"] / one["batch"] for one in (point, first))
    if point is first:
        return "1"
    mark = "~" if unsteady(point["times"]) or unsteady(first["times"]) else ""
    grown = per_sample / at_first
    return f"{mark}{grown:.0f}" if grown >= 100 else f"{mark}{grown:.2g}"


def product_table(check: Result) -> str:
    """How far `low_rank` is from its matrix products alone."""
    lines = [f"low_rank, rank {check['rank']}: time / its matrix products alone, {check['limit']} wanted"]
    for row in check["rows"]:
        cells = [f"{which} {marked(row[which], 'floor')}" for which in PASSES]
        lines.append(f"  {Size(**row['size'])!s:<22} {', '.join(cells)}")
    return "\n".join(lines)


def chunk_table(check: Result) -> str:
    """Peak memory of `tensor` with and without chunks as the outer product grows."""
    title = f"tensor, {check['rows']} samples: peak kB of a forward and backward beside its gradients"
    names = ("widths", "product", "plain", "ours", f"chunk={check['chunk']}", "gradients")
    lines = [title, "".join(f"{name:>12}" for name in names)]
    for point in check["points"]:
        peaks = [point[f"{who}_bytes"] / 1e3 for who in ("plain", "whole", "chunked", "gradient")]
        widths = " x ".join(map(str, point["widths"]))
        lines.append(f"{widths:>12}{point['product']:>12}" + "".join(f"{peak:>12.0f}" for peak in peaks))
    return "\n".join(lines)
