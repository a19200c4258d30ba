"""Reliance as bars: what a model loses when a modality is hidden, shuffled between rows, or made noise."""

import math
from collections.abc import Mapping

from fuseloom.diagnose.reliance import Reliance
from fuseloom.metrics.interval import Interval
from fuseloom.report.frame import WIDTH, across_grid
from fuseloom.report.svg import Axis, element, figure, linear_axis, span, text, tooltip
from fuseloom.report.words import fit, interval_text, signed

__all__ = ["bars"]

_GAP = 26.0
_TOP = 8.0
_BOTTOM = 52.0
_BAR = 16.0
_LEFT = 104.0
_RIGHT = 68.0
_LETTERS = 10
_UNMEASURED = Interval(mean=math.nan)

Ways = Mapping[str, Mapping[str, Interval]]


def bars(reliance: Reliance, decimals: int) -> str:
    """Two or three bars with intervals per modality as inline SVG, to the right where the score gets worse.

    Args:
        reliance: Of one model; where no noise was tried there is no bar for it.
        decimals: Of the numbers beside the bars.
    """
    ways = {"hidden": reliance.hidden, "shuffled": reliance.shuffled}
    ways |= {"noise": reliance.noise} if reliance.noise else {}
    line = _GAP + (_BAR + 1) * len(ways)
    height = _TOP + line * len(reliance.hidden) + _BOTTOM
    axis = _axis(ways)
    groups = [
        _group(ways, name, axis, _TOP + line * index + _GAP / 2, decimals)
        for index, name in enumerate(reliance.hidden)
    ]
    return figure(
        _label(reliance, ways, decimals), _grid(reliance, axis, height), *groups, width=WIDTH, height=height
    )


def _axis(ways: Ways) -> Axis:
    drops = [drop for way in ways.values() for drop in way.values()]
    ends = [end for drop in drops for end in (drop.low, drop.mean, drop.high) if end is not None]
    low, high = span([0.0, *ends])
    # Room on the left for the number beside a negative bar.
    return linear_axis(low - 0.25 * (high - low) * (low < 0), high, start=_LEFT, end=WIDTH - _RIGHT, most=5)


def _label(reliance: Reliance, ways: Ways, decimals: int) -> str:
    drops = "; ".join(
        f"{name} "
        + ", ".join(f"{signed(_drop(way, name).mean, decimals)} {how}" for how, way in ways.items())
        for name in reliance.hidden
    )
    return f"Loss of {reliance.metric} of {reliance.model} per modality: {drops}."


def _grid(reliance: Reliance, axis: Axis, height: float) -> str:
    bottom = height - _BOTTOM
    zero = element("line", x1=axis.place(0), x2=axis.place(0), y1=_TOP, y2=bottom, class_="zero")
    return across_grid(axis, f"{reliance.metric} lost (→ worse)", top=_TOP, bottom=bottom) + zero


def _drop(way: Mapping[str, Interval], name: str) -> Interval:
    return way.get(name, _UNMEASURED)


def _group(ways: Ways, name: str, axis: Axis, y: float, decimals: int) -> str:
    middle = y + (_BAR + 1) * len(ways) / 2
    return "".join(
        [
            text(fit(name, _LETTERS), _LEFT - 14, middle + 5, class_="name", anchor="end"),
            *(
                _bar((how, name), _drop(way, name), axis, y + (_BAR + 1) * index, decimals)
                for index, (how, way) in enumerate(ways.items())
            ),
        ]
    )


def _bar(what: tuple[str, str], drop: Interval, axis: Axis, y: float, decimals: int) -> str:
    how, name = what
    zero = axis.place(0)
    end = axis.place(drop.mean) if math.isfinite(drop.mean) else zero
    left, right = sorted((zero, end))
    low, high = _reach(drop, axis, end)
    beside = (max(right, high) + 6, "start") if end >= zero else (min(left, low) - 6, "end")
    return element(
        "g",
        tooltip(f"{name} {how}: {interval_text(drop, decimals)}"),
        element("rect", x=left, y=y, width=max(right - left, 1), height=_BAR, class_=f"bar {how}"),
        element("line", x1=low, x2=high, y1=y + _BAR / 2, y2=y + _BAR / 2, class_="reach")
        if high > low
        else "",
        text(signed(drop.mean, decimals), beside[0], y + 13, class_="number", anchor=beside[1]),
    )


def _reach(drop: Interval, axis: Axis, end: float) -> tuple[float, float]:
    """Where the interval starts and ends; at the end of the bar where there is none."""
    if drop.low is None or drop.high is None:
        return end, end
    return axis.place(drop.low), axis.place(drop.high)
