"""Where the words of a row look: the picture once for each, its patches shaded by the attention they get."""

from collections.abc import Sequence

from fuseloom.diagnose.attention import Attention
from fuseloom.diagnose.exchanged import SampleStream
from fuseloom.diagnose.looks import Look
from fuseloom.report.frame import LETTER, WIDTH
from fuseloom.report.svg import element, figure, text, tooltip
from fuseloom.report.words import fit

__all__ = ["look_figures"]

_MOST_WORDS = 24
_COLUMNS = 4
_GAP = 8.0
_SIDE = (WIDTH - (_COLUMNS - 1) * _GAP) / _COLUMNS
_LINE = 22.0
_DARKEST = 0.75
_PEAK = 4
"""A patch that gets less than so many even shares is not the darkest, be it the first of all."""


def look_figures(attention: Attention) -> list[tuple[str, str]]:
    """A figure for each row that is shown: what it is of, and inline SVG.

    Only positions that tile a picture are drawn, of at most 24 words.

    Args:
        attention: Of one model.
    """
    return [(_title(look), _figure(look)) for look in attention.looks if look.row.streams[1].grid is not None]


def _title(look: Look) -> str:
    asking, asked = look.row.streams
    return f"Where {asking.modality} of row {look.row.row} looks in {asked.modality}"


def _figure(look: Look) -> str:
    asking, asked = look.row.streams
    height = _SIDE * _shape(asked)
    shown = look.weights[:_MOST_WORDS]
    cells = [
        element(
            "g",
            text(fit(_word(asking, place), int(_SIDE / LETTER)), 0, _LINE - 6),
            element("g", *_drawn(asked, weights, height), transform=f"translate(0 {_LINE:g})"),
            transform=f"translate({place % _COLUMNS * (_SIDE + _GAP):g} "
            f"{place // _COLUMNS * (height + _LINE + _GAP):g})",
            class_="patches",
        )
        for place, weights in enumerate(shown)
    ]
    lines = -(-len(shown) // _COLUMNS)
    return figure(_label(look), *cells, width=WIDTH, height=lines * (height + _LINE + _GAP))


def _shape(asked: SampleStream) -> float:
    """Height over width."""
    assert asked.grid is not None
    down, across = asked.grid
    return down / across if asked.picture is None else asked.picture.height / asked.picture.width


def _word(asking: SampleStream, place: int) -> str:
    return asking.words[place] if place < len(asking.words) else str(place + 1)


def _drawn(asked: SampleStream, weights: Sequence[float], height: float) -> list[str]:
    """The picture, and a rectangle on each patch, the darkest on that which gets most."""
    assert asked.grid is not None
    down, across = asked.grid
    size = {"width": _SIDE, "height": height}
    sheet = element("rect", x=0, y=0, class_="sheet", **size)
    if asked.picture is not None:
        sheet = element("image", href=asked.picture.picture, preserveAspectRatio="none", **size)
    most = max(*weights, min(1.0, _PEAK / len(weights)))  # or even attention would be as dark as a peak
    boxes = [
        element(
            "rect",
            tooltip(f"{weight:.3f}"),
            x=place % across * _SIDE / across,
            y=place // across * height / down,
            width=_SIDE / across,
            height=height / down,
            class_="taken",
            style=f"fill-opacity: {_DARKEST * weight / most:.2f}; stroke: none",
        )
        for place, weight in enumerate(weights)
    ]
    return [sheet, *boxes]


def _label(look: Look) -> str:
    """For each word the patch that it looks at most."""
    asking, _ = look.row.streams
    most = [
        f"{_word(asking, place)}: {weights.index(max(weights)) + 1}"
        for place, weights in enumerate(look.weights[:_MOST_WORDS])
    ]
    return f"{_title(look)}; the patch that each looks at most: {', '.join(most)}."
