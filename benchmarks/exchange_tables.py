"""Tables of what was measured of exchanges, from the results as JSON holds them."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from contest import PASSES, Size
from tables import about, failures, heading, losses, marked
from timing import unsteady

__all__ = ["figures_table", "growth_table", "render", "speed_table"]

Result = Mapping[str, Any]

_LEGEND = """\
ours: microseconds or kilobytes; / plain, / attn, / floor: ours divided by the plain formulation, by full
cross-attention through SDPA at the same size, by the floor; / inputs: kept bytes by those of the streams;
~: quartiles far apart"""
_GROUPS = (
    ("forward, us", ("plain", "attn", "floor")),
    ("forward + backward, us", ("plain", "attn", "floor")),
    ("peak memory, kB", ("plain", "attn", "floor")),
    ("kept for backward, kB", ("inputs", "plain", "attn")),
)
_NAME, _SIZE, _CELL = 17, 24, 8


def render(results: Result) -> str:
    """All tables, one below the other, the promised figures first."""
    parts = [speed_table(results["speed"]), losses(results["speed"])]
    if figures := results["checks"]:
        parts.insert(0, figures_table(figures))
    if failed := results["failed"]:
        parts.append(failures(failed))
    if growth := results["growth"]:
        parts.append(growth_table(growth))
    return "\n\n".join([*parts, about(results)]) + "\n"


def figures_table(rows: Iterable[Result]) -> str:
    """Each promised figure, whether it holds, and under those that do not where the time goes."""
    lines = [f"{'figure':<58} {'found':>8}  {'promised':<24} {'':<7} size"]
    for row in rows:
        mark = "" if row.get("steady", True) else "~"
        found = f"{mark}{row['found']:.3g}"
        verdict = {None: "", True: "holds", False: "MISSED"}[row["holds"]]
        size = Size(**row["size"])
        lines.append(f"{row['what']:<58} {found:>8}  {_promised(row['bound']):<24} {verdict:<7} {size}")
        lines += [f"    {event['share']:>4.0%} {event['operation']}" for event in row.get("profile", ())]
    return "\n".join(lines)


def _promised(bound: Mapping[str, float | None] | None) -> str:
    if bound is None:
        return "-"
    words = {"most": "at most", "fewest": "at least", "aim": "aim"}
    return ", ".join(f"{words[key]} {value:g}" for key, value in bound.items() if value is not None)


def speed_table(rows: Sequence[Result]) -> str:
    """Times, peak memory and bytes kept, one line per part and size, a heading per type and mode."""
    wide = 9 + 3 * (_CELL + 1)
    head = "".join(f"  {title:^{wide}}" for title, _ in _GROUPS)
    columns = "".join(f"  {'ours':>9}" + "".join(_cell(f"/ {who}") for who in whom) for _, whom in _GROUPS)
    lines, left = [_LEGEND], _NAME + _SIZE + 1
    for title, group in groupby(rows, heading):
        lines += ["", f"{title:<{left}}{head}".rstrip(), f"{'':<{left}}{columns}"]
        lines += [_speed_line(row) for row in group]
    return "\n".join(lines)


def _speed_line(row: Result) -> str:
    cells = [_times(row[which]) for which in PASSES]
    cells.append(_bytes(row["peak_bytes"], ("plain", "attention", "floor")))
    cells.append(_bytes(row["kept_bytes"], ("inputs", "plain", "attention")))
    size = str(Size(**row["size"]))
    return f"{row['part']:<{_NAME}} {size:<{_SIZE}}" + "".join(f"  {cell}" for cell in cells)


def _times(times: Mapping[str, Mapping[str, float]]) -> str:
    ratios = "".join(_cell(marked(times, rival)) for rival in ("plain", "attention", "floor"))
    return f"{times['ours']['median_s'] * 1e6:>9.1f}{ratios}"


def _bytes(found: Mapping[str, int] | None, rivals: Sequence[str]) -> str:
    if found is None:
        return f"{'-':>9}" + _cell("-") * len(rivals)
    return f"{found['ours'] / 1e3:>9.1f}" + "".join(_cell(_quotient(found["ours"], found[r])) for r in rivals)


def _quotient(ours: int, theirs: int) -> str:
    return f"{ours / theirs:.2f}" if theirs else "-"


def _cell(text: str) -> str:
    return f" {text:>{_CELL}}"


def growth_table(rows: Iterable[Result]) -> str:
    """Milliseconds of a forward and backward of ours, and megabytes at their peak; a table per axis."""
    lines: list[str] = []
    for axis, group in groupby(rows, lambda row: row["axis"]):
        members = list(group)
        values = [point["value"] for point in members[0]["points"]]
        lines += [
            "",
            f"forward + backward against {axis} ({Size(**members[0]['base'])} at first): ms; MB peak",
        ]
        lines.append(f"{axis:<{_NAME}}" + "".join(f"{value:>18}" for value in values))
        lines += [
            f"{row['part']:<{_NAME}}" + "".join(f"{_point(point):>18}" for point in row["points"])
            for row in members
        ]
    return "\n".join(lines[1:])


def _point(point: Result) -> str:
    if "over" in point:
        return str(point["over"])
    mark = "~" if unsteady(point) else ""
    return f"{mark}{point['median_s'] * 1e3:.3g};{point['peak_bytes'] / 1e6:>7.1f}"
