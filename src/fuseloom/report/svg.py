"""The few pieces of SVG that the plots need: elements, axes, markers.

Colours are classes that the page's style sheet sets, so that a plot follows dark mode and print.
"""

import html
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from fuseloom.report.words import printable

__all__ = ["Axis", "element", "figure", "linear_axis", "log_axis", "marker", "span", "text", "tooltip"]

Role = Literal["baseline", "unimodal", "fusion"]


def element(tag: str, *children: str, **attributes: str | float) -> str:
    """One element; attribute values are escaped, children are markup already.

    A trailing underscore of a keyword is dropped and others become hyphens.

    Example:
        >>> element("line", x1=0, x2=10.04, stroke_width=2, class_="grid")
        '<line x1="0" x2="10" stroke-width="2" class="grid"/>'
    """
    shown = "".join(f' {_attribute(name)}="{_value(value)}"' for name, value in attributes.items())
    return f"<{tag}{shown}>{''.join(children)}</{tag}>" if children else f"<{tag}{shown}/>"


def _attribute(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


def _value(value: str | float) -> str:
    return html.escape(printable(value)) if isinstance(value, str) else f"{round(value, 1):g}"


def text(content: str, x: float, y: float, *, class_: str = "", anchor: str = "start") -> str:
    """A line of text; ``anchor`` is ``start``, ``middle`` or ``end``."""
    return element("text", html.escape(printable(content)), x=x, y=y, class_=class_, text_anchor=anchor)


def tooltip(content: str) -> str:
    """What a pointer that rests on the parent element shows."""
    return element("title", html.escape(printable(content)))


def figure(label: str, *children: str, width: float, height: float, class_: str = "") -> str:
    """The outer element; ``label`` is what a screen reader says instead of the picture."""
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=label,
        class_=f"plot {class_}".strip(),
        style=f"max-width: {1.15 * width:g}px",
    )


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Values to positions; a value beyond an end is placed on that end."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[tuple[float, str], ...]
    transform: Callable[[float], float] = float

    def place(self, value: float) -> float:
        """Position of a value."""
        low, high = self.transform(self.low), self.transform(self.high)
        share = (self.transform(min(max(value, self.low), self.high)) - low) / (high - low)
        return self.start + share * (self.end - self.start)

    def shows(self, value: float) -> bool:
        """Whether a value lies between the ends."""
        return self.low <= value <= self.high


def linear_axis(low: float, high: float, *, start: float, end: float, most: int = 6) -> Axis:
    """An axis with up to ``most`` round ticks; ends are moved apart where they are equal.

    Example:
        >>> [label for _, label in linear_axis(0.91, 0.99, start=0, end=100).ticks]
        ['0.92', '0.94', '0.96', '0.98']
    """
    low, high = _apart(low, high)
    step = _round_step((high - low) / most)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    values = [index * step for index in range(first, last + 1)]
    labels = [f"{value:.3g}" if step >= 1e5 or decimals > 6 else f"{value:,.{decimals}f}" for value in values]
    return Axis(low=low, high=high, start=start, end=end, ticks=tuple(zip(values, labels, strict=True)))


def _apart(low: float, high: float) -> tuple[float, float]:
    # Relative to the size, or steps would vanish in the rounding of large values.
    least = max(abs(low), abs(high), 1e-9) * 1e-6
    return (low, high) if high - low > least else (low - 0.5 * abs(low) - 0.5, high + 0.5 * abs(high) + 0.5)


def _round_step(step: float) -> float:
    unit: float = 10.0 ** math.floor(math.log10(step))
    return next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= step * (1 - 1e-9))


def log_axis(
    low: float, high: float, *, start: float, end: float, name: Callable[[float], str] = "{:g}".format
) -> Axis:
    """A logarithmic axis between positive values, widened to show at least two ticks.

    Example:
        >>> [label for _, label in log_axis(300, 40_000, start=0, end=100).ticks]
        ['1000', '10000']
    """
    while len(ticks := _decade_ticks(low, high)) < 2:
        low, high = low / 1.3, high * 1.3
    return Axis(
        low=low,
        high=high,
        start=start,
        end=end,
        ticks=tuple((value, name(value)) for value in ticks),
        transform=math.log10,
    )


def _decade_ticks(low: float, high: float) -> list[float]:
    decades = math.log10(high / low)
    factors = (1, 2, 5) if decades < 1.7 else (1,)
    every = max(1, math.ceil(decades / 6))
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [f * 10.0**exponent for exponent in exponents if exponent % every == 0 for f in factors]
    return [value for value in values if low <= value <= high]


def span(values: Iterable[float]) -> tuple[float, float]:
    """Least and greatest finite value; 0 and 1 where there is none."""
    finite = [value for value in values if math.isfinite(value)]
    return (min(finite), max(finite)) if finite else (0.0, 1.0)


def marker(role: Role, x: float, y: float, *, size: float = 5, class_: str = "") -> str:
    """A circle for a fusion, a square for a modality alone, a diamond for a baseline."""
    name = f"mark {role} {class_}".strip()
    if role == "fusion":
        return element("circle", cx=x, cy=y, r=size, class_=name)
    if role == "unimodal":
        side = 1.8 * size
        return element("rect", x=x - side / 2, y=y - side / 2, width=side, height=side, class_=name)
    reach = 1.3 * size
    corners = f"M{x:.1f} {y - reach:.1f}l{reach:.1f} {reach:.1f}l-{reach:.1f} {reach:.1f}"
    return element("path", d=f"{corners}l-{reach:.1f} -{reach:.1f}z", class_=name)
