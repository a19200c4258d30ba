"""How each exchange grows with tokens, batch and modalities, beside full attention; what is too much says so.

A point is run once to see what it takes. Whether that is affordable is predicted from the points before it:
with the exponent between the last two, at least linear and at most quadratic, which is also what the second
point is predicted with.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from contest import Contender, Effort, Setting, Size, build, contender, draw, peaks, steps
from rivals import READS
from rivals.exchanges import PlainCrossAttention
from timing import measure

__all__ = ["ATTENTION", "Axis", "Limits", "full_attention", "grow", "predicted"]

ATTENTION = "full attention"
_MOST_EXPONENT = 2.0
# What takes longer is not timed again: its turns would take minutes.
_LONG_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What grows, from a size on."""

    name: str
    base: Size
    values: tuple[int, ...]

    def sizes(self) -> Iterator[tuple[int, Size]]:
        """Value and size of each point."""
        return ((value, replace(self.base, **{self.name: value})) for value in self.values)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one forward and backward may take."""

    seconds: float
    gigabytes: float

    def exceeded(self, seconds: float, peak: float) -> str | None:
        """Which limit it is, in words."""
        if seconds > self.seconds:
            return f"> {self.seconds:g} s"
        return f"> {self.gigabytes:g} GB" if peak > self.gigabytes * 1e9 else None


def full_attention(size: Size, setting: Setting) -> Contender:
    """Cross-attention of every modality to all tokens of the others, through SDPA, with its own weights."""
    state = build("cross_attention", size).state_dict()
    return contender(PlainCrossAttention(state, size.dims).to(setting.device, setting.dtype))


def entrant(name: str, size: Size, setting: Setting) -> Contender:
    """Ours of an exchange, or full attention."""
    if name == ATTENTION:
        return full_attention(size, setting)
    return contender(build(name, size).to(setting.device, setting.dtype), READS.get(name))


def predicted(points: Sequence[tuple[int, float]], value: int) -> float:
    """Cost at a value that is larger than those of the points ``(value, cost)``; 0 without any."""
    if not points:
        return 0.0
    (last, cost), exponent = points[-1], _MOST_EXPONENT
    if len(points) > 1:
        before, cheaper = points[-2]
        slope = math.log(cost / cheaper) / math.log(last / before)
        exponent = min(max(slope, 1.0), _MOST_EXPONENT)
    return cost * (value / last) ** exponent


def grow(name: str, axis: Axis, setting: Setting, effort: Effort, limits: Limits) -> dict[str, Any]:
    """Seconds and peak bytes of a forward and backward at each point, or which limit it is over."""
    points: list[dict[str, Any]] = []
    again: dict[str, Callable[[], Any]] = {}
    for value, size in axis.sizes():
        over = limits.exceeded(*(_predicted(points, key, value) for key in ("median_s", "peak_bytes")))
        if over is None:
            run = steps(entrant(name, size, setting), draw(size, setting))
            found = _probe(run, effort)
            over = limits.exceeded(found["median_s"], found["peak_bytes"])
            if found["median_s"] < _LONG_S:
                again[str(value)] = run["forward+backward"]
        points.append({"value": value} | (found if over is None else {"over": over}))
    times = measure(again, **asdict(effort), device=setting.device)
    return {
        "axis": axis.name,
        "part": name,
        "base": asdict(axis.base),
        "points": [point | times.get(str(point["value"]), {}) for point in points],
    }


def _predicted(points: Sequence[Mapping[str, Any]], key: str, value: int) -> float:
    return predicted([(point["value"], point[key]) for point in points if key in point], value)


def _probe(run: dict[str, Callable[[], Any]], effort: Effort) -> dict[str, Any]:
    start = effort.clock()
    peak = peaks({"ours": run})["ours"]
    seconds = effort.clock() - start
    return {"median_s": seconds, "low_s": seconds, "high_s": seconds, "rounds": 1, "peak_bytes": peak}
