"""Score against cost: one dot per model, and the models that no other beats in both."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fuseloom.comparison.result import Comparison, Entry
from fuseloom.report.frame import BOTTOM, HEIGHT, LEFT, LETTER, RIGHT, TOP, WIDTH, across_grid, up_grid
from fuseloom.report.scale import in_scale
from fuseloom.report.svg import Axis, element, figure, linear_axis, log_axis, marker, span, text, tooltip
from fuseloom.report.words import columns, compact, fit, milliseconds, score, score_decimals

__all__ = ["LATENCY", "PARAMETERS", "Cost", "scatter", "undrawn"]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A horizontal axis: what it measures and how its numbers read."""

    title: str
    of: Callable[[Entry], float]
    name: Callable[[float], str]


PARAMETERS = Cost(title="parameters", of=lambda entry: entry.parameters, name=compact)
LATENCY = Cost(title="time to predict one row", of=lambda entry: entry.latency_ms, name=milliseconds)

_LETTERS = 16
_MOST_LABELS = 14
Box = tuple[float, float, float, float]
Place = tuple[float, float, str]
_DIRECTION: Box = (LEFT, 0, LEFT + 9 * LETTER, TOP - 8)


def scatter(comparison: Comparison, cost: Cost) -> str:
    """Test score against a cost on a logarithmic axis, as inline SVG.

    Args:
        comparison: A finished comparison.
        cost: `PARAMETERS` or `LATENCY`.
    """
    entries = _drawn(comparison, cost)
    across = _cost_axis(cost, entries)
    up = _score_axis(entries)
    points = {entry.name: (across.place(cost.of(entry)), up.place(entry.test.mean)) for entry in entries}
    front = _front(entries, cost, higher_is_better=comparison.higher_is_better)
    path = " ".join(f"{points[entry.name][0]:.1f},{points[entry.name][1]:.1f}" for entry in front)
    return figure(
        f"Test {comparison.metric} against {cost.title} of {len(entries)} models; no other model is better "
        f"and cheaper than: {', '.join(entry.name for entry in front)}.",
        up_grid(up, "↑ better" if comparison.higher_is_better else "↓ better"),
        across_grid(across, f"{cost.title} (← cheaper)", top=TOP, bottom=BOTTOM),
        element("polyline", points=path, class_="front"),
        *(_point(comparison, cost, entry, points[entry.name]) for entry in entries),
        *_labels(_by_weight(comparison, entries, front)[:_MOST_LABELS], points),
        width=WIDTH,
        height=HEIGHT,
    )


def undrawn(comparison: Comparison, cost: Cost) -> list[Entry]:
    """Entries a logarithmic axis has no place for, or whose score is off the scale."""
    drawn = {entry.name for entry in _drawn(comparison, cost)}
    return [entry for entry in comparison.entries if entry.name not in drawn]


def _drawn(comparison: Comparison, cost: Cost) -> list[Entry]:
    shown = in_scale(comparison)
    return [entry for entry in shown if 0 < cost.of(entry) < math.inf]


def _cost_axis(cost: Cost, entries: Sequence[Entry]) -> Axis:
    low, high = span(cost.of(entry) for entry in entries) if entries else (1.0, 10.0)
    return log_axis(low / 1.25, high * 1.25, start=LEFT, end=RIGHT, name=cost.name)


def _score_axis(entries: Sequence[Entry]) -> Axis:
    low, high = span(entry.test.mean for entry in entries)
    margin = 0.08 * (high - low)
    return linear_axis(low - margin, high + margin, start=BOTTOM, end=TOP)


def _front(entries: Iterable[Entry], cost: Cost, *, higher_is_better: bool) -> list[Entry]:
    """The entries that no other beats in score at the same or a lower cost, cheapest first."""
    sign = -1 if higher_is_better else 1
    front: list[Entry] = []
    for entry in sorted(entries, key=lambda entry: (cost.of(entry), sign * entry.test.mean)):
        if not front or sign * entry.test.mean < sign * front[-1].test.mean:
            front.append(entry)
    return front


def _point(comparison: Comparison, cost: Cost, entry: Entry, at: tuple[float, float]) -> str:
    chosen = entry.name == comparison.recommendation.name
    ring = element("circle", cx=at[0], cy=at[1], r=11, class_="ring") if chosen else ""
    mean = score(entry.test.mean, score_decimals(comparison))
    return element(
        "g",
        tooltip(f"{entry.name}: {mean}, {cost.title} {cost.name(cost.of(entry))}"),
        ring,
        marker(entry.role, at[0], at[1]),
        class_=f"entry {entry.role}{' chosen' if chosen else ''}",
    )


def _by_weight(comparison: Comparison, entries: Sequence[Entry], front: Sequence[Entry]) -> list[str]:
    """Names in the order in which they get a label: the recommended model, the front, the others."""
    names = [entry.name for entry in (*front, *entries)]
    first = [name for name in names if name == comparison.recommendation.name]
    return list(dict.fromkeys([*first, *names]))


def _labels(names: Iterable[str], points: dict[str, tuple[float, float]]) -> list[str]:
    """Each name beside its dot where it covers nothing; a name without such a place stays a tooltip."""
    taken = [(x - 9, y - 9, x + 9, y + 9) for x, y in points.values()]
    taken.append(_DIRECTION)
    placed = []
    for name in names:
        shown = fit(name, _LETTERS)
        for (x, y, anchor), box in _places(points[name], columns(shown) * LETTER):
            if _inside(box) and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                placed.append(text(shown, x, y, class_="label", anchor=anchor))
                break
    return placed


def _places(point: tuple[float, float], width: float) -> list[tuple[Place, Box]]:
    """Where a label may stand around its dot, best first, with the room it takes there."""
    x, y = point
    places: list[Place] = [
        (x + 13, y + 5, "start"),
        (x - 13, y + 5, "end"),
        (x, y - 14, "middle"),
        (x, y + 27, "middle"),
        (x + 9, y - 13, "start"),
        (x + 9, y + 24, "start"),
        (x - 9, y - 13, "end"),
        (x - 9, y + 24, "end"),
    ]
    return [(place, _room(place, width)) for place in places]


def _room(place: Place, width: float) -> Box:
    x, y, anchor = place
    left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor] * width
    return (left - 2, y - 13, left + width + 2, y + 4)


def _inside(box: Box) -> bool:
    return box[0] >= LEFT and box[2] <= WIDTH and box[1] >= 0 and box[3] <= BOTTOM


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
