"""What two modalities tell of the target as bars: of each part the data, and the model beside them."""

import math
from collections.abc import Mapping

from fuseloom.diagnose.pid import Pid, PidParts
from fuseloom.metrics.interval import Interval
from fuseloom.report.frame import LETTER, WIDTH, across_grid
from fuseloom.report.svg import Axis, element, figure, linear_axis, span, text, tooltip
from fuseloom.report.words import fit, interval_text, score

__all__ = ["information"]

_LINE = 68.0
_TOP = 8.0
_BOTTOM = 52.0
_BAR = 14.0
_LEFT = 20.0
_RIGHT = 70.0
_LETTERS = int(WIDTH / LETTER) - 2
_DECIMALS = 3


def information(pid: Pid) -> str:
    """Redundant, unique and synergistic information with intervals as inline SVG; filled bars are the data.

    Args:
        pid: Of two modalities.
    """
    found = {"data": _parts(pid.data)} | ({"model": _parts(pid.model)} if pid.model is not None else {})
    names = list(found["data"])
    height = _TOP + _LINE * len(names) + _BOTTOM
    axis = _axis(found)
    groups = [_group(name, found, axis, _TOP + _LINE * index) for index, name in enumerate(names)]
    return figure(
        _label(pid, found),
        across_grid(axis, pid.unit, top=_TOP, bottom=height - _BOTTOM),
        *groups,
        width=WIDTH,
        height=height,
    )


def _parts(parts: PidParts) -> dict[str, Interval]:
    unique = {f"only {name} (unique)": part for name, part in parts.unique.items()}
    return {
        "either (redundant)": parts.redundant,
        **unique,
        "only both together (synergistic)": parts.synergistic,
    }


def _axis(found: Mapping[str, Mapping[str, Interval]]) -> Axis:
    parts = [part for each in found.values() for part in each.values()]
    ends = [end for part in parts for end in (part.mean, part.high) if end is not None]
    _, high = span([0.0, *ends])
    return linear_axis(0, high, start=_LEFT, end=WIDTH - _RIGHT, most=5)


def _group(name: str, found: Mapping[str, Mapping[str, Interval]], axis: Axis, y: float) -> str:
    bars = [
        _bar(whose, name, each[name], axis, y + 26 + 20 * index)
        for index, (whose, each) in enumerate(found.items())
    ]
    return "".join([text(fit(name, _LETTERS), 2, y + 18, class_="name"), *bars])


def _bar(whose: str, name: str, part: Interval, axis: Axis, y: float) -> str:
    zero = axis.place(0)
    end = axis.place(part.mean) if math.isfinite(part.mean) else zero
    whisker = ""
    if part.low is not None and part.high is not None:
        left, right, middle = axis.place(part.low), axis.place(part.high), y + _BAR / 2
        whisker = element("line", x1=left, x2=right, y1=middle, y2=middle, class_="reach")
    return element(
        "g",
        tooltip(f"{name}, {whose}: {interval_text(part, _DECIMALS)}"),
        element("rect", x=zero, y=y, width=max(end - zero, 1), height=_BAR, class_=f"bar {whose}"),
        whisker,
        text(score(part.mean, _DECIMALS), WIDTH - 4, y + 13, class_="number", anchor="end"),
    )


def _label(pid: Pid, found: Mapping[str, Mapping[str, Interval]]) -> str:
    shown = "; ".join(
        f"{name}, {whose} {interval_text(each[name], _DECIMALS)}"
        for name in found["data"]
        for whose, each in found.items()
    )
    return f"What {' and '.join(pid.sources)} tell of the target in {pid.unit}: {shown}."
