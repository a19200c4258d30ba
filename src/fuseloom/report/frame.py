"""What the plots with two axes share: their size, their grid and how their ticks are written.

All are drawn once, for a small screen too: there the style sheet makes the text larger, so that it stays
readable where the drawing is scaled down, and the room for text is that of the larger text.
"""

from fuseloom.report.svg import Axis, element, text
from fuseloom.report.words import columns

__all__ = ["BOTTOM", "HEIGHT", "LEFT", "LETTER", "RIGHT", "TOP", "WIDTH", "across_grid", "up_grid"]

WIDTH = 380.0
"""Of every small plot; the style sheet counts on it."""
HEIGHT = 330.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, WIDTH - 14.0, 28.0, HEIGHT - 52.0
"""Where the axes end."""
LETTER = 9.6
"""Width of a letter of the largest text."""


def across_grid(axis: Axis, title: str, *, top: float, bottom: float) -> str:
    """Vertical lines with their labels below, as far as these do not touch, and the title of the axis.

    Args:
        axis: From left to right.
        title: Below the labels.
        top: Where the lines start.
        bottom: Where they end.
    """
    lines = [
        element("line", x1=axis.place(value), x2=axis.place(value), y1=top, y2=bottom, class_="grid")
        for value, _ in axis.ticks
    ]
    labels = [text(label, x, bottom + 19, class_="tick", anchor="middle") for x, label in _apart(axis)]
    middle = (axis.start + axis.end) / 2
    return "".join([*lines, *labels, text(title, middle, bottom + 42, class_="axis", anchor="middle")])


def _apart(axis: Axis) -> list[tuple[float, str]]:
    """Places of the labels that keep a letter's distance from the one before."""
    kept: list[tuple[float, str]] = []
    free = float("-inf")
    for value, label in axis.ticks:
        half = columns(label) * LETTER / 2
        if axis.place(value) - half >= free:
            kept.append((axis.place(value), label))
            free = axis.place(value) + half + LETTER
    return kept


def up_grid(axis: Axis, title: str, *, left: float = LEFT, right: float = RIGHT) -> str:
    """Horizontal lines with their labels on the left, and the title above.

    Args:
        axis: From the bottom up.
        title: Above the axis.
        left: Where the lines start.
        right: Where they end.
    """
    lines = [
        element("line", x1=left, x2=right, y1=axis.place(value), y2=axis.place(value), class_="grid")
        + text(label, left - 8, axis.place(value) + 5, class_="tick", anchor="end")
        for value, label in axis.ticks
    ]
    return "".join([*lines, text(title, left, axis.end - 12, class_="axis")])
