"""Where a model looks: attention per modality, a dot for each head, and where even attention would be."""

import math
from collections.abc import Sequence

from fuseloom.diagnose.attention import Attention, AttentionLayer, HeadAttention
from fuseloom.report.frame import LETTER, WIDTH, across_grid
from fuseloom.report.svg import Axis, element, figure, linear_axis, marker, text, tooltip
from fuseloom.report.words import fit, interval_text, score

__all__ = ["glance"]

_MOST_LAYERS = 12
_NAME = 28.0
_HEAD = 14.0
_TOP = 8.0
_BOTTOM = 52.0
_LEFT = 20.0
_RIGHT = 14.0
_LETTERS = int(WIDTH / LETTER) - 2
_DECIMALS = 2


def glance(attention: Attention) -> list[tuple[str, str]]:
    """A figure per layer, at most twelve: its name, and weight per modality and head as inline SVG.

    Layers that see one modality only have nothing to choose and are left out.

    Args:
        attention: Of one model.
    """
    chooses = [layer for layer in attention.layers if any(len(head.mass) > 1 for head in layer.heads)]
    return [(layer.name, _figure(attention, layer)) for layer in chooses[:_MOST_LAYERS]]


def _figure(attention: Attention, layer: AttentionLayer) -> str:
    names = list(dict.fromkeys(name for head in layer.heads for name in head.mass))
    line = _NAME + _HEAD * len(layer.heads)
    height = _TOP + line * len(names) + _BOTTOM
    axis = linear_axis(0, 1, start=_LEFT, end=WIDTH - _RIGHT, most=5)
    groups = [_group(name, layer.heads, axis, _TOP + line * index) for index, name in enumerate(names)]
    return figure(
        _label(attention, layer, names),
        across_grid(axis, "share of attention", top=_TOP, bottom=height - _BOTTOM),
        *groups,
        width=WIDTH,
        height=height,
    )


def _group(name: str, heads: Sequence[HeadAttention], axis: Axis, y: float) -> str:
    found = [head for head in heads if name in head.mass]
    dots = [_dot(name, head, axis, y + _NAME + _HEAD * (index + 0.5)) for index, head in enumerate(found)]
    return element("g", text(fit(name, _LETTERS), 2, y + 20, class_="name"), *dots, class_="entry fusion")


def _dot(name: str, head: HeadAttention, axis: Axis, y: float) -> str:
    mass = head.mass[name]
    if not math.isfinite(mass.mean):
        return ""
    parts = [
        tooltip(f"{name}, head {head.head}: {interval_text(mass, _DECIMALS)}"),
        _even(head, name, axis, y),
    ]
    if mass.low is not None and mass.high is not None:
        left, right = axis.place(mass.low), axis.place(mass.high)
        parts.append(element("line", x1=left, x2=right, y1=y, y2=y, class_="whisker"))
    return element("g", *parts, marker("fusion", axis.place(mass.mean), y, size=4.5))


def _even(head: HeadAttention, name: str, axis: Axis, y: float) -> str:
    """A stroke at the share of the modality's tokens."""
    even = _even_share(head, name)
    if even is None:
        return ""
    x = axis.place(even)
    return element("line", x1=x, x2=x, y1=y - _HEAD / 2, y2=y + _HEAD / 2, class_="even")


def _even_share(head: HeadAttention, name: str) -> float | None:
    """What the modality would get if attention did not choose; None where nothing tells it."""
    ratio = head.ratio[name].mean if name in head.ratio else math.nan
    return head.mass[name].mean / ratio if math.isfinite(ratio) and ratio > 0 else None


def _label(attention: Attention, layer: AttentionLayer, names: Sequence[str]) -> str:
    shown = "; ".join(
        f"{name} "
        + ", ".join(score(head.mass[name].mean, _DECIMALS) for head in layer.heads if name in head.mass)
        for name in names
    )
    return f"Attention of {attention.model} in {layer.name}, head by head: {shown}."
