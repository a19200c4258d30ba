"""The kinds of thing: families of three, each made of a few solids, in metres at medium size."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property

from fuseloom.data.scenes.world import Vector

__all__ = ["FAMILIES", "KINDS", "PAINTS", "Kind", "Paint", "Part", "family_of"]


@dataclass(frozen=True, kw_only=True)
class Paint:
    """A surface that is the same on all things, whatever they are made of."""

    colour: Vector
    """Reflectance, linear."""
    emissivity: float = 0.95
    gloss: float = 0.0


PAINTS: Mapping[str, Paint] = {
    "skin": Paint(colour=(0.55, 0.32, 0.22), emissivity=0.98),
    "dark": Paint(colour=(0.03, 0.03, 0.04)),
    "glass": Paint(colour=(0.06, 0.10, 0.14), emissivity=0.88, gloss=0.6),
    "steel": Paint(colour=(0.35, 0.36, 0.38), emissivity=0.3, gloss=0.4),
    "slate": Paint(colour=(0.16, 0.15, 0.17)),
    "bark": Paint(colour=(0.14, 0.08, 0.04)),
}


@dataclass(frozen=True)
class Part:
    """One solid of a kind."""

    shape: str
    centre: Vector
    """Forward, left and up of where the thing stands."""
    half: Vector
    """Half its extent forward, left and up."""
    paint: str | None = None
    """One of ``PAINTS``; none: the thing's own colour, material and pattern."""
    _: KW_ONLY
    axis: str = "up"
    """Where the third axis of its shape points: ``up``, ``left`` or ``forward``."""
    warm: bool = False
    """Whether it warms itself; the others are as warm as the air beside it."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What all things of a kind have in common."""

    parts: Sequence[Part]
    scale: float = 1.0
    """How many times as large as its parts say: families show about equally many pixels of themselves."""
    temperatures: tuple[float, float] | None = None
    """Kelvin, lowest and highest that are drawn, of its warm parts; none if it does not warm itself."""
    speed: float = 0.0
    """Metres per second, the highest that is drawn."""

    @cached_property
    def height(self) -> float:
        """Metres from the ground to its top."""
        return self.scale * max(part.centre[2] + part.half[2] for part in self.parts)

    @cached_property
    def footprint(self) -> float:
        """Metres from where it stands to its farthest side."""
        sides = (abs(part.centre[axis]) + part.half[axis] for part in self.parts for axis in (0, 1))
        return self.scale * max(sides)


def _pair(
    shape: str,
    centre: Vector,
    half: Vector,
    paint: str | None = None,
    *,
    axis: str = "up",
    warm: bool = False,
) -> list[Part]:
    """A part on the left, and its twin on the right."""
    forward, left, up = centre
    return [Part(shape, (forward, side * left, up), half, paint, axis=axis, warm=warm) for side in (1, -1)]


def _wheels(forward: float, left: float, radius: float) -> list[Part]:
    half = (radius, 0.09, radius)
    return [
        wheel
        for place in (forward, -forward)
        for wheel in _pair("cylinder", (place, left, radius), half, "dark", axis="left")
    ]


def _legs(forward: float, left: float, half_height: float, paint: str | None) -> list[Part]:
    half = (0.06, 0.06, half_height)
    return [
        leg for place in (forward, -forward) for leg in _pair("box", (place, left, half_height), half, paint)
    ]


def _person(*parts: Part, head: float) -> Kind:
    skull = Part("ball", (0.02, 0, head), (0.2, 0.19, 0.23), "skin", warm=True)
    return Kind(parts=[*parts, skull], scale=0.94, temperatures=(305.0, 308.0), speed=1.5)


def _vehicle(*parts: Part) -> Kind:
    return Kind(parts=parts, scale=0.71, temperatures=(289.0, 330.0), speed=3.0)


_PEOPLE = {
    "walker": _person(
        Part("box", (0.14, 0.15, 0.4), (0.13, 0.12, 0.4), "dark", warm=True),
        Part("box", (-0.14, -0.15, 0.4), (0.13, 0.12, 0.4), "dark", warm=True),
        Part("tapered", (0, 0, 1.12), (0.24, 0.34, 0.36), warm=True),
        *_pair("cylinder", (0, 0.38, 1.1), (0.08, 0.08, 0.34), warm=True),
        head=1.7,
    ),
    "dancer": _person(
        *_pair("cylinder", (0, 0.12, 0.2), (0.09, 0.09, 0.2), "skin", warm=True),
        Part("cone", (0, 0, 0.85), (0.5, 0.5, 0.5), warm=True),
        Part("box", (0, 0, 1.15), (0.18, 0.26, 0.2), warm=True),
        *_pair("cylinder", (0, 0.36, 1.5), (0.08, 0.08, 0.4), warm=True),
        head=1.6,
    ),
    "sitter": _person(
        Part("cylinder", (-0.05, 0, 0.24), (0.3, 0.3, 0.24), "dark"),
        Part("tapered", (-0.08, 0, 0.86), (0.25, 0.34, 0.38), warm=True),
        *_pair("box", (0.25, 0.15, 0.56), (0.32, 0.11, 0.11), "dark", warm=True),
        *_pair("box", (0.5, 0.15, 0.28), (0.1, 0.1, 0.28), "dark", warm=True),
        *_pair("cylinder", (0.1, 0.38, 0.84), (0.09, 0.09, 0.3), warm=True),
        head=1.45,
    ),
}

_BUILDINGS = {
    "house": Kind(
        parts=[
            Part("box", (0, 0, 0.75), (0.42, 0.4, 0.75)),
            Part("roof", (0, 0, 1.85), (0.5, 0.52, 0.36), "slate"),
            Part("box", (0.42, 0, 0.32), (0.03, 0.14, 0.32), "dark"),
            Part("box", (-0.42, 0, 1.0), (0.03, 0.22, 0.18), "glass"),
            *_pair("box", (0, 0.4, 1.0), (0.22, 0.03, 0.18), "glass"),
        ],
        scale=0.73,
    ),
    "tower": Kind(
        parts=[
            Part("cylinder", (0, 0, 0.75), (0.4, 0.4, 0.75)),
            Part("cone", (0, 0, 1.82), (0.55, 0.55, 0.34), "slate"),
            Part("cylinder", (0, 0, 1.2), (0.42, 0.42, 0.1), "glass"),
            Part("box", (0.38, 0, 0.25), (0.06, 0.13, 0.25), "dark"),
        ],
        scale=0.73,
    ),
    "temple": Kind(
        parts=[
            Part("box", (0, 0, 0.1), (0.52, 0.52, 0.1)),
            *(
                Part("cylinder", (forward, left, 0.85), (0.11, 0.11, 0.67))
                for forward in (0.38, -0.38)
                for left in (0.38, 0, -0.38)
            ),
            Part("box", (0, 0, 0.85), (0.24, 0.24, 0.67), "dark"),
            Part("pyramid", (0, 0, 1.84), (0.55, 0.55, 0.34), "slate"),
        ],
        scale=0.73,
    ),
}

_EMBLEMS = {
    "flag": Kind(
        parts=[
            Part("cylinder", (0, 0.5, 0.62), (0.07, 0.07, 0.62), "steel"),
            Part("box", (0, -0.1, 0.8), (0.04, 0.56, 0.44)),
            Part("box", (0, -0.1, 0.8), (0.05, 0.56, 0.12), "dark"),
        ],
    ),
    "billboard": Kind(
        parts=[
            *_pair("box", (0, 0.5, 0.2), (0.07, 0.07, 0.2), "steel"),
            Part("box", (0, 0, 0.84), (0.06, 0.72, 0.5)),
            Part("box", (0, 0, 0.84), (0.08, 0.36, 0.2), "dark"),
        ],
    ),
    "roundel": Kind(
        parts=[
            Part("cylinder", (0, 0, 0.2), (0.09, 0.09, 0.2), "steel"),
            Part("cylinder", (0, 0, 0.82), (0.06, 0.58, 0.58), axis="forward"),
            Part("cylinder", (0, 0, 0.82), (0.08, 0.26, 0.26), "dark", axis="forward"),
        ],
    ),
}

_VEHICLES = {
    "car": _vehicle(
        Part("box", (0, 0, 0.74), (0.68, 0.4, 0.34), warm=True),
        Part("box", (-0.1, 0, 1.32), (0.42, 0.36, 0.26), "glass"),
        Part("box", (-0.1, 0, 1.64), (0.38, 0.35, 0.08)),
        *_wheels(0.42, 0.38, 0.38),
    ),
    "truck": _vehicle(
        Part("box", (0.45, 0, 0.88), (0.28, 0.42, 0.5), "steel", warm=True),
        Part("box", (0.72, 0, 1.1), (0.03, 0.34, 0.18), "glass"),
        Part("box", (-0.25, 0, 1.15), (0.42, 0.42, 0.77)),
        *_wheels(0.42, 0.38, 0.34),
    ),
    "rocket": _vehicle(
        Part("cylinder", (0, 0, 1.15), (0.38, 0.38, 0.65)),
        Part("cone", (0, 0, 2.15), (0.38, 0.38, 0.35)),
        Part("cylinder", (0, 0, 0.4), (0.25, 0.25, 0.1), "dark", warm=True),
        Part("ball", (0.33, 0, 1.4), (0.1, 0.18, 0.18), "glass"),
        Part("pyramid", (0, 0, 0.5), (0.7, 0.06, 0.5), "steel"),
        Part("pyramid", (0, 0, 0.5), (0.06, 0.7, 0.5), "steel"),
    ),
}

_PLANTS = {
    "tree": Kind(
        parts=[
            Part("cylinder", (0, 0, 0.4), (0.12, 0.12, 0.4), "bark"),
            Part("ball", (0, 0, 1.2), (0.58, 0.58, 0.52)),
        ]
    ),
    "pine": Kind(
        parts=[
            Part("cylinder", (0, 0, 0.2), (0.12, 0.12, 0.2), "bark"),
            *(
                Part("cone", (0, 0, up), (wide, wide, 0.38))
                for up, wide in ((0.7, 0.6), (1.1, 0.46), (1.5, 0.32))
            ),
        ]
    ),
    "cactus": Kind(
        parts=[
            Part("cylinder", (0, 0, 0.75), (0.2, 0.2, 0.75)),
            Part("ball", (0, 0, 1.5), (0.2, 0.2, 0.18)),
            Part("cylinder", (0, 0, 0.75), (0.1, 0.48, 0.1), axis="left"),
            Part("cylinder", (0, 0.48, 1.0), (0.11, 0.11, 0.3)),
            Part("cylinder", (0, -0.48, 0.95), (0.11, 0.11, 0.25)),
        ]
    ),
}

_FURNITURE = {
    "table": Kind(parts=[Part("box", (0, 0, 0.8), (0.6, 0.5, 0.08)), *_legs(0.5, 0.4, 0.38, "steel")]),
    "chair": Kind(
        parts=[
            Part("box", (0, 0, 0.55), (0.36, 0.36, 0.07)),
            Part("box", (-0.32, 0, 1.0), (0.06, 0.36, 0.42)),
            *_legs(0.28, 0.28, 0.26, "bark"),
        ]
    ),
    "lamp": Kind(
        parts=[
            Part("cylinder", (0, 0, 0.05), (0.3, 0.3, 0.05), "steel"),
            Part("cylinder", (0, 0, 0.65), (0.07, 0.07, 0.6), "steel"),
            Part("tapered", (0, 0, 1.35), (0.42, 0.42, 0.26), warm=True),
        ],
        temperatures=(310.0, 335.0),
    ),
}

_TOYS = {
    "ball": Kind(parts=[Part("ball", (0, 0, 0.5), (0.5, 0.5, 0.5))], speed=2.0),
    "crate": Kind(parts=[Part("box", (0, 0, 0.42), (0.42, 0.42, 0.42))]),
    "cone": Kind(
        parts=[Part("box", (0, 0, 0.05), (0.46, 0.46, 0.05)), Part("cone", (0, 0, 0.6), (0.38, 0.38, 0.5))]
    ),
}

_MADE: Mapping[str, Mapping[str, Kind]] = {
    "person": _PEOPLE,
    "building": _BUILDINGS,
    "emblem": _EMBLEMS,
    "vehicle": _VEHICLES,
    "plant": _PLANTS,
    "furniture": _FURNITURE,
    "toy": _TOYS,
}

KINDS: Mapping[str, Kind] = {name: kind for family in _MADE.values() for name, kind in family.items()}
"""Kind -> what it is made of."""

FAMILIES: Mapping[str, tuple[str, ...]] = {name: tuple(family) for name, family in _MADE.items()}
"""Family -> its three kinds."""


def family_of(kind: str) -> str:
    """The family that a kind is of.

    Example:
        >>> family_of("tower")
        'building'
    """
    return next(name for name, kinds in FAMILIES.items() if kind in kinds)
