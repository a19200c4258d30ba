"""Figures of methods: streams as columns of tokens, and what moves between them, as SVG files.

A figure is a panel of its own with a light and a dark dress, so that it is readable on any page; it asks
nothing of the network and runs no script.
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fuseloom.report.svg import element, text

__all__ = ["ExchangeFigure", "Flow", "MergeFigure", "Panel"]

WIDTH = 640.0
_TILE = 34.0
_STEP = 46.0
_TOP = 64.0
_LETTER = 8.2
_COLUMNS = {"text": 150.0, "shared": 320.0, "audio": 490.0}
_STYLE = """
.panel{fill:#fff;stroke:#d4dae3}
text{fill:#1c2430;font:15px system-ui,sans-serif}
.small{font-size:14px;fill:#4a5567}
.name{font-weight:600}
.text{fill:#2f6fb3}.audio{fill:#d9822b}.image{fill:#3f8f5b}.shared{fill:#8d6cc4}.fused{fill:#8d6cc4}
.inside{fill:#fff;font-weight:600}
.flow{fill:none;stroke:#5b6677;stroke-width:1.8}
.flow.text{fill:none;stroke:#2f6fb3}.flow.audio{fill:none;stroke:#d9822b}
.flow.image{fill:none;stroke:#3f8f5b}.flow.shared,.flow.fused{fill:none;stroke:#8d6cc4}
.tip{fill:#5b6677}.tip.text{fill:#2f6fb3}.tip.audio{fill:#d9822b}.tip.image{fill:#3f8f5b}
.tip.shared,.tip.fused{fill:#8d6cc4}
.box{fill:#f3f5f9;stroke:#8390a3;stroke-width:1.2}
.mark{fill:none;stroke:#1c2430;stroke-width:2.4}
@media (prefers-color-scheme:dark){
.panel{fill:#161b22;stroke:#384252}text{fill:#e8edf4}.small{fill:#b3bdcb}
.text{fill:#5b9be0}.audio{fill:#eda04f}.image{fill:#63b681}.shared,.fused{fill:#b093e6}
.inside{fill:#10141a}
.flow{stroke:#97a3b4}.flow.text{fill:none;stroke:#5b9be0}.flow.audio{fill:none;stroke:#eda04f}
.flow.image{fill:none;stroke:#63b681}.flow.shared,.flow.fused{fill:none;stroke:#b093e6}
.tip{fill:#97a3b4}.tip.text{fill:#5b9be0}.tip.audio{fill:#eda04f}.tip.image{fill:#63b681}
.tip.shared,.tip.fused{fill:#b093e6}
.box{fill:#212936;stroke:#66738a}.mark{stroke:#e8edf4}}
"""

Place = tuple[str, int]
"""A stream and one of its tokens."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What is drawn inside, and its height."""

    label: str
    """What a screen reader says instead of the picture."""
    parts: tuple[str, ...]
    height: float

    def svg(self) -> str:
        """The file."""
        size = {"x": 0.5, "y": 0.5, "width": WIDTH - 1, "height": self.height - 1, "rx": 8}
        whole = element(
            "svg",
            element("title", html.escape(self.label)),
            element("style", _STYLE),
            element("rect", class_="panel", **size),
            *self.parts,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {WIDTH:g} {self.height:g}",
            width=WIDTH,
            height=self.height,
            role="img",
            aria_label=self.label,
        )
        return whole + "\n"


@dataclass(frozen=True, kw_only=True)
class Flow:
    """An arrow from one token to another, in the colour of where it comes from."""

    source: Place
    target: Place


@dataclass(frozen=True, kw_only=True)
class ExchangeFigure:
    """Streams before an exchange, what crosses, and of what each token is made behind it."""

    flows: tuple[Flow, ...]
    caption: tuple[str, ...]
    """Lines below."""
    lengths: Mapping[str, int]
    """Stream -> its tokens; ``shared`` stands between the two others."""
    marked: tuple[Place, ...] = ()
    """Tokens with a frame: the ones that the caption speaks of."""
    made_of: Mapping[Place, str] | None = None
    """Token -> stream of which it shows a half, or all of it, behind the exchange: ``half audio``."""
    letters: Mapping[Place, str] | None = None
    """Token -> what is written in it."""
    heads: Mapping[str, str] | None = None
    """Stream -> its heading, where that is not its name."""

    def panel(self, label: str) -> Panel:
        """The drawing."""
        bottom = _TOP + _STEP * max(self.lengths.values())
        heads = {name: (self.heads or {}).get(name, name) for name in self.lengths}
        parts = [
            *(text(heads[n], _COLUMNS[n], 36, class_="name", anchor="middle") for n in self.lengths),
            *(self._arrow(flow) for flow in self.flows),
            *(self._token(name, place) for name, count in self.lengths.items() for place in range(count)),
            *_lines(self.caption, bottom + 24),
        ]
        return Panel(label=label, parts=tuple(parts), height=bottom + 22 * len(self.caption) + 20)

    def _centre(self, place: Place) -> tuple[float, float]:
        name, number = place
        free = max(self.lengths.values()) - self.lengths[name]
        return _COLUMNS[name], _TOP + _STEP * (number + free / 2) + _TILE / 2

    def _arrow(self, flow: Flow) -> str:
        (x1, y1), (x2, y2) = self._centre(flow.source), self._centre(flow.target)
        name = flow.source[0]
        if flow.source[0] == flow.target[0]:
            side = -1 if x1 < WIDTH / 2 else 1
            return _loop(x1 + side * _TILE / 2, y1, y2, side, name)
        side = 1 if x2 > x1 else -1
        # Apart, where arrows go both ways between two tokens.
        lift = -5 if side > 0 else 5
        return _straight(x1 + side * (_TILE / 2 + 3), y1 + lift, x2 - side * (_TILE / 2 + 3), y2 + lift, name)

    def _token(self, name: str, number: int) -> str:
        x, y = self._centre((name, number))
        left, top = x - _TILE / 2, y - _TILE / 2
        share, _, other = (self.made_of or {}).get((name, number), "").partition(" ")
        own = other if share == "all" else name
        parts = [element("rect", x=left, y=top, width=_TILE, height=_TILE, rx=6, class_=own)]
        if share == "half":
            corners = f"M{left + _TILE:g} {top + 4:g}V{top + _TILE - 4:g}q0 4 -4 4H{left + 4:g}z"
            parts.append(element("path", d=corners, class_=other))
        if (name, number) in self.marked:
            frame = {"x": left - 3, "y": top - 3, "width": _TILE + 6, "height": _TILE + 6, "rx": 8}
            parts.append(element("rect", class_="mark", **frame))
        letter = (self.letters or {}).get((name, number), "")
        parts += [text(letter, x, y + 5, class_="inside", anchor="middle")] if letter else []
        return "".join(parts)


@dataclass(frozen=True, kw_only=True)
class MergeFigure:
    """Streams on the left, what happens to each, where they meet, and the one value on the right."""

    each: tuple[str, ...]
    """Steps of every stream by itself."""
    joint: tuple[str, ...]
    """Lines in the box where streams meet."""
    after: tuple[str, ...] = ()
    """Lines in a box behind it."""
    caption: tuple[str, ...] = ()
    """Lines below."""
    lanes: Mapping[str, Sequence[str]] | None = None
    """Stream -> its own steps, where they are not those of ``each``."""
    result: str = "fused"

    def panel(self, label: str) -> Panel:
        """The drawing."""
        lanes = {name: _TOP + 78 * place for place, name in enumerate(_LENGTHS)}
        middle, bottom = lanes["audio"], lanes["image"] + 48
        *steps, joint = self._centres()
        parts = [
            *(part for name, y in lanes.items() for part in self._lane(name, y, steps, (joint, middle))),
            _box(self.joint, joint, middle),
            *self._end(joint, middle),
            *_lines(self.caption, bottom + 14),
        ]
        return Panel(label=label, parts=tuple(parts), height=bottom + 22 * len(self.caption) + 10)

    def _columns(self) -> list[float]:
        """Half widths of the steps of the lanes, of the box where they meet and of the one behind it."""
        rows = [(self.lanes or {}).get(name, self.each) for name in _LENGTHS]
        steps = [max(_half_width((step,)) for step in column) for column in zip(*rows, strict=True)]
        return [*steps, _half_width(self.joint), *([_half_width(self.after)] if self.after else [])]

    def _gap(self) -> float:
        columns = self._columns()
        return (_RESULT - _START - 2 * sum(columns)) / (len(columns) + 1)

    def _centres(self) -> list[float]:
        """Where the steps stand, and at the end the box where streams meet."""
        found, x = [], _START
        for half in self._columns()[: len(self.each) + 1]:
            x += self._gap() + half
            found.append(x)
            x += half
        return found

    def _lane(self, name: str, y: float, centres: Sequence[float], goal: tuple[float, float]) -> list[str]:
        parts, start = _row(name, y), 28.0 + 29 * _LENGTHS[name]
        for step, x in zip((self.lanes or {}).get(name, self.each), centres, strict=True):
            half = _half_width((step,))
            parts += [_straight(start, y, x - half - 2, y, name), _box((step,), x, y)]
            start = x + half + 2
        reach = goal[0] - _half_width(self.joint) - 3
        return [*parts, _straight(start, y, reach, goal[1] + (y - goal[1]) * 0.2, name)]

    def _end(self, joint: float, middle: float) -> list[str]:
        """From where streams meet to the result."""
        start, parts = joint + _half_width(self.joint) + 2, []
        if self.after:
            half = _half_width(self.after)
            x = start - 2 + self._gap() + half
            parts = [_straight(start, middle, x - half - 3, middle, "fused"), _box(self.after, x, middle)]
            start = x + half + 2
        size = {"width": 22, "height": 62, "rx": 6}
        return [
            *parts,
            _straight(start, middle, _RESULT - 2, middle, "fused"),
            element("rect", x=_RESULT, y=middle - 31, class_="fused", **size),
            text(self.result, _RESULT + 24, middle + 52, class_="small", anchor="end"),
        ]


_START, _RESULT = 142.0, 590.0
_LENGTHS = {"text": 4, "audio": 3, "image": 1}
"""Stream -> tokens in a figure of a merge; an image is one vector there."""


def _row(name: str, y: float) -> list[str]:
    """A stream of a merge: its name over its tokens."""
    side = 22.0
    tiles = [
        element("rect", x=28 + 29 * place, y=y - side / 2, width=side, height=side, rx=4, class_=name)
        for place in range(_LENGTHS[name])
    ]
    return [text(name, 28, y - 19, class_="name"), *tiles]


def _half_width(lines: Sequence[str]) -> float:
    return max(_LETTER * max(map(len, lines)) + 16, 34) / 2


def _box(lines: Sequence[str], x: float, y: float) -> str:
    """Lines in a box around a point."""
    half, height = _half_width(lines), 20.0 * len(lines) + 14
    frame = {"x": x - half, "y": y - height / 2, "width": 2 * half, "height": height, "rx": 7}
    start = y - 10 * (len(lines) - 1) + 5
    shown = [text(line, x, start + 20 * place, anchor="middle") for place, line in enumerate(lines)]
    return element("rect", class_="box", **frame) + "".join(shown)


def _lines(lines: Sequence[str], y: float) -> list[str]:
    return [
        text(line, WIDTH / 2, y + 22 * place, class_="small", anchor="middle")
        for place, line in enumerate(lines)
    ]


def _straight(x1: float, y1: float, x2: float, y2: float, name: str) -> str:
    length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5 or 1.0
    ux, uy = (x2 - x1) / length, (y2 - y1) / length
    foot_x, foot_y = x2 - 9 * ux, y2 - 9 * uy
    line = element("line", x1=x1, y1=y1, x2=foot_x, y2=foot_y, class_=f"flow {name}")
    sides = (foot_x - 4.5 * uy, foot_y + 4.5 * ux), (foot_x + 4.5 * uy, foot_y - 4.5 * ux)
    return line + _tip((x2, y2), *sides, name=name)


def _loop(x: float, y1: float, y2: float, side: int, name: str) -> str:
    """An arrow from a token to one of its own stream, on the outer side."""
    start, end = (y1 - 8, y2 + 8) if y1 == y2 else (y1, y2)
    far, near = x + side * 40, x + side * 11
    curve = f"C{far:.1f} {start - 8:.1f} {far:.1f} {end + 8:.1f} {near:.1f} {end:.1f}"
    line = element("path", d=f"M{x + side * 3:.1f} {start:.1f}{curve}", class_=f"flow {name}")
    return line + _tip((x + side * 3, end), (near, end - 4.5), (near, end + 4.5), name=name)


def _tip(*corners: tuple[float, float], name: str) -> str:
    drawn = "L".join(f"{x:.1f} {y:.1f}" for x, y in corners)
    return element("path", d=f"M{drawn}z", class_=f"tip {name}")
