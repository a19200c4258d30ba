"""Things as solids with surfaces: where their parts are, what colour they have, and how warm they are."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.scenes.geometry import Solids
from fuseloom.data.scenes.kinds import KINDS, PAINTS, Paint, Part
from fuseloom.data.scenes.world import COLOURS, MATERIALS, PATTERNS, SIZES, Doubles, Scene, Thing
from fuseloom.errors import OptionError, did_you_mean

__all__ = ["Surfaces", "check_thing", "solids_of", "surfaces_at", "things_of"]

_AXES = {"up": (0, 1, 2), "left": (2, 0, 1), "forward": (1, 2, 0)}
"""Which of a thing's axes are a part's first, second and third."""
_TILE, _TILE_SHADE = 1.0, 0.9
_STRIPE, _CHECK, _PATTERN_SHADE = 0.22, 0.3, 0.4
"""Metres, and what is left of the colour on every other stripe or field."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Surfaces:
    """What rays have met, each ``[R]`` or ``[R, 3]``; of no use where a ray meets nothing."""

    colour: Doubles
    """Reflectance, linear."""
    gloss: Doubles
    emissivity: Doubles
    temperature: Doubles
    """Kelvin."""


def check_thing(thing: Thing) -> None:
    """Refuse a word that the world does not know.

    Raises:
        OptionError: it does not.
    """
    known = {"kind": KINDS, "colour": COLOURS, "size": SIZES, "material": MATERIALS, "pattern": PATTERNS}
    for name, words in known.items():
        if (word := getattr(thing, name)) not in words:
            raise OptionError(
                f"{name} must be one that the world knows, got {word!r}.{did_you_mean(word, words)}"
            )


def solids_of(scene: Scene) -> Solids:
    """All parts of all things, in their order."""
    parts = [(thing, part) for thing in scene.things for part in KINDS[thing.kind].parts]
    scale = np.array([SIZES[thing.size] * KINDS[thing.kind].scale for thing, _ in parts]).reshape(-1, 1)
    turned = np.array([_turned(thing.heading) for thing, _ in parts]).reshape(-1, 3, 3)
    order = np.array([_AXES[part.axis] for _, part in parts], dtype=np.intp).reshape(-1, 3)
    place = np.array([(*thing.place, 0.0) for thing, _ in parts]).reshape(-1, 3)
    centre = scale * np.array([part.centre for _, part in parts]).reshape(-1, 3)
    half = scale * np.array([part.half for _, part in parts]).reshape(-1, 3)
    return Solids(
        shape=np.array([part.shape for _, part in parts], dtype=np.str_),
        centre=place + np.einsum("swt,st->sw", turned, centre),
        axes=np.take_along_axis(turned, order[:, None], axis=2),
        half=np.take_along_axis(half, order, axis=1),
    )


def things_of(scene: Scene) -> NDArray[np.int64]:
    """Number of the thing that each solid of `solids_of` is a part of ``[S]``."""
    counts = [len(KINDS[thing.kind].parts) for thing in scene.things]
    return np.repeat(np.arange(len(counts)), counts)


def surfaces_at(scene: Scene, solid: NDArray[np.intp], points: Doubles) -> Surfaces:
    """The surfaces of these solids ``[R]``, the ground where -1, at these points ``[R, 3]``."""
    parts = [(thing, part) for thing in scene.things for part in KINDS[thing.kind].parts]
    paints = [*(_paint(thing, part) for thing, part in parts), Paint(colour=scene.ground)]
    heat = [*(_temperature(scene, thing, part) for thing, part in parts), scene.air_temperature]
    colour = np.array([paint.colour for paint in paints])[solid]
    return Surfaces(
        colour=colour * _shade(scene, solid, points)[:, None],
        gloss=np.array([paint.gloss for paint in paints])[solid],
        emissivity=np.array([paint.emissivity for paint in paints])[solid],
        temperature=np.array(heat)[solid],
    )


def _turned(heading: float) -> Doubles:
    """Forward, left and up in the world, a column each."""
    cosine, sine = math.cos(math.radians(heading)), math.sin(math.radians(heading))
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


def _paint(thing: Thing, part: Part) -> Paint:
    if part.paint is not None:
        return PAINTS[part.paint]
    material = MATERIALS[thing.material]
    return Paint(colour=COLOURS[thing.colour], emissivity=material.emissivity, gloss=material.gloss)


def _temperature(scene: Scene, thing: Thing, part: Part) -> float:
    warms_itself = KINDS[thing.kind].temperatures is not None
    return scene.air_temperature if warms_itself and not part.warm else thing.temperature


def _shade(scene: Scene, solid: NDArray[np.intp], points: Doubles) -> Doubles:
    """Which share of its colour a surface has at each point ``[R]``, by its pattern."""
    even = np.floor(points[:, :2] / _TILE).sum(1) % 2 == 0
    shade = np.where(even | (solid >= 0), 1.0, _TILE_SHADE)
    painted = np.array([part.paint is not None for thing in scene.things for part in KINDS[thing.kind].parts])
    owner = np.append(np.where(painted, -1, things_of(scene)), -1)[solid]
    for number, thing in enumerate(scene.things):
        if thing.pattern != "plain":
            rays = np.flatnonzero(owner == number)
            own = (points[rays] - (*thing.place, 0.0)) @ _turned(thing.heading)
            shade[rays] = np.where(_is_dark(own, thing.pattern), _PATTERN_SHADE, 1.0)
    return shade


def _is_dark(points: Doubles, pattern: str) -> NDArray[np.bool_]:
    """Every other stripe, or field, of a thing at points in its own axes ``[R, 3]``."""
    fields = points[:, 2:] / _STRIPE if pattern == "striped" else points / _CHECK
    dark: NDArray[np.bool_] = np.floor(fields).sum(1) % 2 == 1
    return dark
