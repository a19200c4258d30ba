"""Reliance as bars: what a model loses when a modality is hidden, and when its rows are shuffled."""

import math

from fuseloom.diagnose.reliance import Reliance
from fuseloom.report.frame import WIDTH, across_grid
from fuseloom.report.svg import Axis, element, figure, linear_axis, span, text, tooltip
from fuseloom.report.words import fit, signed

__all__ = ["bars"]

_LINE = 60.0
_TOP = 8.0
_BOTTOM = 52.0
_BAR = 16.0
_LEFT = 104.0
_RIGHT = 68.0
_LETTERS = 10


def bars(reliance: Reliance, decimals: int) -> str:
    """Two bars per modality as inline SVG, to the right where the score gets worse.

    Args:
        reliance: Of one model.
        decimals: Of the numbers beside the bars.
    """
    height = _TOP + _LINE * len(reliance.hidden) + _BOTTOM
    drops = [*reliance.hidden.values(), *reliance.shuffled.values()]
    low, high = span([0.0, *drops])
    # Room on the left for the number beside a negative bar.
    axis = linear_axis(low - 0.25 * (high - low) * (low < 0), high, start=_LEFT, end=WIDTH - _RIGHT, most=5)
    groups = [
        _group(reliance, name, axis, _TOP + _LINE * (index + 0.5), decimals)
        for index, name in enumerate(reliance.hidden)
    ]
    return figure(
        _label(reliance, decimals), _grid(reliance, axis, height), *groups, width=WIDTH, height=height
    )


def _label(reliance: Reliance, decimals: int) -> str:
    drops = "; ".join(
        f"{name} {signed(drop, decimals)} hidden, {signed(reliance.shuffled.get(name), decimals)} shuffled"
        for name, drop in reliance.hidden.items()
    )
    return f"Loss of {reliance.metric} of {reliance.model} per modality: {drops}."


def _grid(reliance: Reliance, axis: Axis, height: float) -> str:
    bottom = height - _BOTTOM
    zero = element("line", x1=axis.place(0), x2=axis.place(0), y1=_TOP, y2=bottom, class_="zero")
    return across_grid(axis, f"{reliance.metric} lost (→ worse)", top=_TOP, bottom=bottom) + zero


def _group(reliance: Reliance, name: str, axis: Axis, y: float, decimals: int) -> str:
    return "".join(
        [
            text(fit(name, _LETTERS), _LEFT - 14, y + 5, class_="name", anchor="end"),
            _bar("hidden", name, reliance.hidden[name], axis, y - _BAR - 1, decimals),
            _bar("shuffled", name, reliance.shuffled.get(name, math.nan), axis, y + 1, decimals),
        ]
    )


def _bar(how: str, name: str, drop: float, axis: Axis, y: float, decimals: int) -> str:
    zero = axis.place(0)
    end = axis.place(drop) if math.isfinite(drop) else zero
    left, right = sorted((zero, end))
    beside = (right + 6, "start") if end >= zero else (left - 6, "end")
    return element(
        "g",
        tooltip(f"{name} {how}: {signed(drop, decimals)}"),
        element("rect", x=left, y=y, width=max(right - left, 1), height=_BAR, class_=f"bar {how}"),
        text(signed(drop, decimals), beside[0], y + 13, class_="number", anchor=beside[1]),
    )
