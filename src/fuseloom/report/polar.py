"""Where the keys of each modality lie as seen from the queries: direction and length, in half a disc."""

import math
from collections.abc import Iterator

from fuseloom.diagnose.attention import Attention, AttentionLayer, KeyPoint
from fuseloom.report.frame import LETTER, WIDTH
from fuseloom.report.svg import Axis, element, figure, linear_axis, text, tooltip
from fuseloom.report.words import columns, fit, interval_text, score

__all__ = ["polar"]

_MOST_LAYERS = 12
_MIDDLE = WIDTH / 2
_REACH = 132.0
_TOP = 34.0
_GROUND = _TOP + _REACH
_HEIGHT = _GROUND + 56.0
_NAME = 22.0
_LETTERS = 14
_DECIMALS = 2
_MARKS = (("0°", 0, "start"), ("90°", 90, "middle"), ("180°", 180, "end"))


def polar(attention: Attention) -> list[tuple[str, str]]:
    """A figure per layer that files queries and keys, at most twelve: its name, and inline SVG.

    A line for each modality, as long as its mean key, at the angle of that key to the query, which points to
    the right; its name stands in order of the angle.

    Args:
        attention: Of one model.
    """
    drawn = [layer for layer in attention.layers if any(map(_is_known, layer.points))]
    return [(f"{layer.name}: keys", _figure(attention, layer)) for layer in drawn[:_MOST_LAYERS]]


def _is_known(point: KeyPoint) -> bool:
    return math.isfinite(point.angle.mean) and math.isfinite(point.norm.mean)


def _figure(attention: Attention, layer: AttentionLayer) -> str:
    points = sorted(filter(_is_known, layer.points), key=lambda point: point.angle.mean)
    longest = max(_far(point) for point in points)
    axis = linear_axis(0, longest, start=0, end=_REACH, most=3)
    height = _HEIGHT + _NAME * len(points)
    lines = [_line(point, number, axis) for number, point in enumerate(points)]
    names = [_legend(point, number) for number, point in enumerate(points)]
    return figure(
        _label(attention, layer, points),
        *_grid(axis),
        *lines,
        *names,
        width=WIDTH,
        height=height,
        class_="polar",
    )


def _far(point: KeyPoint) -> float:
    """The longest that a mean key may be."""
    high = point.norm.high
    return point.norm.mean if high is None or not math.isfinite(high) else max(high, point.norm.mean)


def _label(attention: Attention, layer: AttentionLayer, points: list[KeyPoint]) -> str:
    told = "; ".join(
        f"{point.modality} at {point.angle.mean:.0f} degrees, {score(point.norm.mean, _DECIMALS)} long"
        for point in points
    )
    return f"Mean keys as seen from the query, {attention.model}, {layer.name}: {told}."


def _place(angle: float, radius: float) -> tuple[float, float]:
    turn = math.radians(angle)
    return _MIDDLE + radius * math.cos(turn), _GROUND - radius * math.sin(turn)


def _grid(axis: Axis) -> Iterator[str]:
    """Half circles of equal length, the query, and degrees."""
    for value, label in axis.ticks:
        if (radius := axis.place(value)) > 0:
            yield element("path", d=_arc(radius, 0, 180), class_="grid")
            yield text(label, _MIDDLE - radius, _GROUND + 19, class_="tick", anchor="middle")
    yield element("line", x1=_MIDDLE - _REACH, x2=_MIDDLE + _REACH, y1=_GROUND, y2=_GROUND, class_="grid")
    for label, angle, anchor in _MARKS:
        x, y = _place(angle, _REACH + 8)
        yield text(label, x, y + (5 if angle % 180 == 0 else 0), class_="tick", anchor=anchor)
    yield text("query →", _MIDDLE + 8, _GROUND + 19, class_="axis")
    yield text("length of the mean key", _MIDDLE, _GROUND + 42, class_="axis", anchor="middle")


def _arc(radius: float, low: float, high: float) -> str:
    (x1, y1), (x2, y2) = _place(low, radius), _place(high, radius)
    return f"M{x1:.1f} {y1:.1f}A{radius:.1f} {radius:.1f} 0 0 0 {x2:.1f} {y2:.1f}"


def _line(point: KeyPoint, number: int, axis: Axis) -> str:
    radius = axis.place(point.norm.mean)
    x, y = _place(point.angle.mean, radius)
    told = (
        f"{point.modality}: angle {interval_text(point.angle, 0)}°, "
        f"length {interval_text(point.norm, _DECIMALS)}"
    )
    parts = [
        tooltip(told),
        element("line", x1=_MIDDLE, y1=_GROUND, x2=x, y2=y, class_="whisker"),
        *_spread(point, radius, axis),
        element("circle", cx=x, cy=y, r=8, class_="mark fusion"),
        text(str(number + 1), x, y + 4.5, class_="number", anchor="middle"),
    ]
    return element("g", *parts, class_="entry fusion")


def _spread(point: KeyPoint, radius: float, axis: Axis) -> Iterator[str]:
    """The interval of the angle along the circle, and that of the length along the line."""
    angle, norm = point.angle, point.norm
    if angle.low is not None and angle.high is not None and angle.high > angle.low:
        yield element("path", d=_arc(radius, angle.low, angle.high), class_="whisker")
    if norm.low is not None and norm.high is not None and norm.high > norm.low:
        (x1, y1), (x2, y2) = (_place(angle.mean, axis.place(value)) for value in (norm.low, norm.high))
        yield element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_="whisker")


def _legend(point: KeyPoint, number: int) -> str:
    name = fit(point.modality, _LETTERS)
    y = _HEIGHT + _NAME * number + 8
    told = f"{point.angle.mean:.0f}°, {score(point.norm.mean, _DECIMALS)} long"
    left = 24.0 + columns(name) * LETTER
    return text(f"{number + 1} {name}", 4, y, class_="name") + text(told, left, y, class_="label")
