"""Tables of what two-stream networks cost, from the results as JSON holds them."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from tables import about
from timing import unsteady

__all__ = ["LIMIT", "bound", "render"]

Row = Mapping[str, Any]
Times = Mapping[str, Mapping[str, float]]

LIMIT = 1.25
"""Of the time of a whole network over that of what it is made of."""
_MADE_OF = ("encoders", "decoders", "floor")
_RIVALS = ("plain", "segformers", "encoders")
_COSTS = {"GFLOP, forward": "gflop", "MB, forward + backward": "peak_mb", "M parameters": "parameters"}
_COSTLY = ("ours", *_RIVALS)


def bound(times: Times) -> float:
    """Ours over encoders, decoders and floor together."""
    return times["ours"]["median_s"] / sum(times[who]["median_s"] for who in _MADE_OF)


def render(found: Row) -> str:
    """All tables, one below the other."""
    size = found["size"]
    scene = f"two modalities of {size['height']} x {size['width']}, batch {size['batch']}"
    parts = [
        f"{scene}; a ratio is the time of ours divided by theirs; ~: quartiles far apart",
        _speed(found["races"], size["batch"]),
        _sums(found["races"]),
        *_missed(found.get("missed", [])),
        _costs(found["costs"]),
        *(_growth(list(rows)) for _, rows in groupby(found.get("growth", []), lambda row: row["axis"])),
        about(found),
    ]
    return "\n\n".join(parts) + "\n"


def _line(title: str, cells: Iterable[str], width: int, *, first: int = 38) -> str:
    return f"{title:<{first}}" + "".join(f"{cell:>{width}}" for cell in cells)


def _which(row: Row) -> str:
    return f"{row['backbone']}, {'compiled' if row['compiled'] else 'eager'}, {row['which']}"


def _speed(rows: Sequence[Row], batch: int) -> str:
    heads = ("images/s", "/ plain", "/ segf.", "/ encoders", "/ sum")
    lines = [_line("", ["ours, s"], 27) + _line("", heads, 12, first=0)]
    for which, group in groupby(rows, _which):
        lines += [which, *(_speed_line(row, batch) for row in group)]
    return "\n".join(lines)


def _speed_line(row: Row, batch: int) -> str:
    times = row["times"]
    ours = times["ours"]
    seconds = f"{ours['median_s']:.3f} ({ours['low_s']:.3f} to {ours['high_s']:.3f})"
    ratios = [_ratio(times, "ours", who) for who in _RIVALS]
    summed = f"{_mark(times, ('ours', *_MADE_OF))}{bound(times):.2f}"
    cells = [f"{batch / ours['median_s']:.3g}", *ratios, summed]
    return _line(f"  {row['system']}", [seconds], 27) + _line("", cells, 12, first=0)


def _mark(times: Times, names: Iterable[str]) -> str:
    return "~" if any(unsteady(times[who]) for who in names) else ""


def _ratio(times: Times, who: str, rival: str) -> str:
    if rival not in times:
        return "-"
    return f"{_mark(times, (who, rival))}{times[who]['median_s'] / times[rival]['median_s']:.2f}"


def _seconds(times: Times, who: str) -> str:
    return f"{times[who]['median_s']:.3f}" if who in times else "-"


def _sums(rows: Sequence[Row]) -> str:
    names = (*_MADE_OF, "plain", "segformers")
    lines = [
        f"sum: encoders, decoders and the floor of the fusion; ours is to take at most {LIMIT} times as long",
        _line("median seconds", names, 12),
    ]
    for which, group in groupby(rows, _which):
        lines.append(which)
        lines += [
            _line(f"  {row['system']}", [_seconds(row["times"], who) for who in names], 12) for row in group
        ]
    return "\n".join(lines)


def _missed(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    lines = [f"Over {LIMIT}, and where most of the time goes:"]
    for row in rows:
        shares = ", ".join(f"{one['operation']} {one['share']:.0%}" for one in row["busiest"])
        lines.append(f"  {row['system']}, {_which(row)}: {shares}")
    return ["\n".join(lines)]


def _costs(rows: Sequence[Row]) -> str:
    lines = [_line("two models: one after the other", _COSTLY, 12)]
    for title, key in _COSTS.items():
        lines.append(title)
        for row in rows:
            cells = [_cost(row[key], who, key) for who in _COSTLY]
            lines.append(_line(f"  {row['backbone']}, {row['system']}", cells, 12))
    return "\n".join(lines)


def _cost(found: Mapping[str, float], who: str, key: str) -> str:
    if who not in found:
        return "-"
    return f"{found[who] / 1e6:.1f}" if key == "parameters" else f"{found[who]:.4g}"


def _growth(rows: Sequence[Row]) -> str:
    first = rows[0]
    names = list(first["times"])
    systems = [who for who in names if who != "encoders"]
    title = f"{first['axis']}, {first['backbone']}, forward + backward"
    lines = [_line(title, [row["value"] for row in rows], 12, first=50)]
    cells = {f"  {who}, s": [_seconds(row["times"], who) for row in rows] for who in names}
    cells |= {
        f"  {who} / encoders": [_ratio(row["times"], who, "encoders") for row in rows] for who in systems
    }
    cells |= {f"  {who}, MB": [f"{row['peak_mb'][who]:.4g}" for row in rows] for who in names}
    return "\n".join([*lines, *(_line(name, values, 12, first=50) for name, values in cells.items())])
