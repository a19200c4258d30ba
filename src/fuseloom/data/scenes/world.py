"""What a scene is: things on a plain, a camera and a light; metres, seconds, kelvin, degrees.

The world's axes are east, north and up, and the ground is at height 0. A thing's own axes are forward, left
and up. The camera's axes are right, down and forward, as is usual for pictures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COLOURS",
    "MATERIALS",
    "PATTERNS",
    "SIZES",
    "Camera",
    "Doubles",
    "Light",
    "Material",
    "Scene",
    "Thing",
    "moved",
]

Doubles = NDArray[np.float64]
Vector = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a surface does with heat and light, whatever its colour."""

    emissivity: float
    """Share of a black body's heat radiation that it sends out; the rest it mirrors from around it."""
    gloss: float
    """Strength of the light's reflection on it."""


COLOURS: Mapping[str, Vector] = {
    "red": (0.62, 0.05, 0.05),
    "yellow": (0.72, 0.55, 0.04),
    "green": (0.07, 0.40, 0.09),
    "blue": (0.05, 0.13, 0.60),
    "purple": (0.34, 0.07, 0.42),
    "white": (0.82, 0.82, 0.80),
}
"""Colour -> reflectance of red, green and blue light, linear."""

SIZES: Mapping[str, float] = {"small": 0.85, "medium": 1.0, "large": 1.2}
"""Size -> how many times as large as its kind is drawn."""

MATERIALS: Mapping[str, Material] = {
    "wooden": Material(emissivity=0.92, gloss=0.0),
    "plastic": Material(emissivity=0.95, gloss=0.15),
    "metal": Material(emissivity=0.25, gloss=0.6),
}

PATTERNS = ("plain", "striped", "checked")


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One thing: what it is called by, where it is, and how it moves."""

    kind: str
    """A name of `fuseloom.data.scenes.kinds.KINDS`."""
    colour: str
    size: str = "medium"
    material: str = "plastic"
    pattern: str = "plain"
    place: tuple[float, float] = (0.0, 0.0)
    """Metres east and north."""
    heading: float = 0.0
    """Degrees from east to where it faces, towards north."""
    velocity: tuple[float, float] = (0.0, 0.0)
    """Metres per second east and north."""
    temperature: float = 288.0
    """Kelvin, of its parts that warm themselves; of all of it where its kind has none that do."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole with square pixels, upright."""

    position: Vector
    target: Vector
    """The point it looks at: the middle of the picture."""
    field_of_view: float = 52.0
    """Degrees across the width of the picture."""
    velocity: Vector = (0.0, 0.0, 0.0)
    """Metres per second; it looks in the same direction meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Light:
    """A sun and the sky around it."""

    azimuth: float
    """Degrees from east to where the sun stands, towards north."""
    elevation: float
    """Degrees over the horizon."""
    sun: float = 0.8
    """Brightness of white that faces the sun, in shares of the brightest that a picture can show."""
    sky: float = 0.3
    """Brightness of white that no sun falls on."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Things on a plain under a light, and the camera that sees them."""

    things: tuple[Thing, ...]
    camera: Camera
    light: Light
    ground: Vector = (0.30, 0.28, 0.22)
    """Reflectance of the ground, as in ``COLOURS``."""
    air_temperature: float = 288.0
    """Kelvin, of the air and all that does not warm itself."""


def moved(scene: Scene, seconds: float) -> Scene:
    """The scene so many seconds later.

    Example:
        >>> from fuseloom.data.scenes import Camera, Light, Scene, Thing
        >>> camera = Camera(position=(0, -6, 2), target=(0, 0, 1), velocity=(1, 0, 0))
        >>> ball = Thing(kind="ball", colour="red", velocity=(0, 2))
        >>> later = moved(Scene(things=(ball,), camera=camera, light=Light(azimuth=0, elevation=45)), 0.5)
        >>> later.things[0].place, later.camera.position
        ((0.0, 1.0), (0.5, -6.0, 2.0))
    """
    camera = scene.camera
    things = [
        replace(thing, place=(thing.place[0] + seconds * east, thing.place[1] + seconds * north))
        for thing in scene.things
        for east, north in [thing.velocity]
    ]
    ahead = replace(
        camera,
        position=_shifted(camera.position, camera.velocity, seconds),
        target=_shifted(camera.target, camera.velocity, seconds),
    )
    return replace(scene, things=tuple(things), camera=ahead)


def _shifted(point: Vector, velocity: Vector, seconds: float) -> Vector:
    x, y, z = (place + seconds * speed for place, speed in zip(point, velocity, strict=True))
    return x, y, z
