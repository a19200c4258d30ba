"""Scenes from a seed: which things, where, under which light, seen from where.

Scene ``index`` of a split is a function of the seed, the split and the index alone: how many others are drawn
does not matter, so that none needs to be stored.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fuseloom.data.scenes.camera import camera_axes
from fuseloom.data.scenes.kinds import FAMILIES, KINDS, family_of
from fuseloom.data.scenes.world import (
    COLOURS,
    MATERIALS,
    PATTERNS,
    SIZES,
    Camera,
    Doubles,
    Light,
    Scene,
    Thing,
)
from fuseloom.errors import OptionError

__all__ = ["SPLITS", "Look", "draw_look", "draw_scene", "generator_of", "is_held_out", "one_of", "scene_of"]

Generator = np.random.Generator

SPLITS = ("train", "valid", "test")
_NUM_THINGS = (3, 6)
_NEAREST, _MIDDLE, _FARTHEST = 3.8, 5.4, 7.2
"""Metres from the camera along the ground: the nearest things, what it looks at, the farthest things."""
_REACH = 0.8
"""Of half the picture's width, over which things stand."""
_CROWDING = 0.9
"""How near two things may stand, in shares of their footprints together."""
_COOLER, _WARMER = 3.0, 8.0
"""Kelvin between the air and what does not warm itself, in shade and sun."""
_TRIES = 2000


@dataclass(frozen=True)
class Look:
    """What a thing is called by."""

    kind: str
    colour: str


def is_held_out(kind: str, colour: str) -> bool:
    """Whether no training scene has a thing of that kind in that colour.

    Of each family and colour one kind in three is held out, and of each kind two colours in six. So in every
    split all families have all colours equally often, and a colour says nothing of the family.

    Example:
        >>> [kind for kind in FAMILIES["toy"] if is_held_out(kind, "red")]
        ['ball']
        >>> [colour for colour in COLOURS if is_held_out("ball", colour)]
        ['red', 'blue']
    """
    return (FAMILIES[family_of(kind)].index(kind) + list(COLOURS).index(colour)) % 3 == 0


def generator_of(seed: int, split: str, index: int) -> Generator:
    """Randomness of one scene, independent of that of all others.

    Raises:
        OptionError: there is no such split, or a negative number.
    """
    if split not in SPLITS:
        raise OptionError(f"split must be one of {list(SPLITS)}, got {split!r}.")
    if seed < 0 or index < 0:
        raise OptionError(f"seed and index must be 0 or more, got {seed} and {index}.")
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), index)))


def draw_scene(seed: int, index: int, split: str = "train") -> Scene:
    """One scene of three to six things of any kind.

    Args:
        seed: Of the whole set.
        index: Number of the scene.
        split: ``train``, ``valid`` or ``test``: those of test have only combinations of kind and colour that
            the others never have.

    Raises:
        OptionError: there is no such split, or a negative number.

    Example:
        >>> scene = draw_scene(seed=0, index=3)
        >>> scene == draw_scene(seed=0, index=3), len(scene.things)
        (True, 6)
    """
    generator = generator_of(seed, split, index)
    families = list(FAMILIES)
    chosen = generator.integers(len(families), size=generator.integers(*_NUM_THINGS, endpoint=True))
    looks = [draw_look(generator, families[family], held_out=split == "test") for family in chosen]
    return scene_of(generator, looks)


def draw_look(generator: Generator, family: str, *, held_out: bool) -> Look:
    """A kind of that family in a colour, held out from training or not."""
    colour = one_of(generator, list(COLOURS))
    kinds = [kind for kind in FAMILIES[family] if is_held_out(kind, colour) == held_out]
    return Look(one_of(generator, kinds), colour)


def scene_of(generator: Generator, looks: Sequence[Look]) -> Scene:
    """A scene of these things, in this order; all but what they are called by is drawn."""
    camera = _camera(generator)
    air = generator.uniform(278, 298)
    sizes = [one_of(generator, list(SIZES)) for _ in looks]
    reach = [KINDS[look.kind].footprint * SIZES[size] for look, size in zip(looks, sizes, strict=True)]
    places = _places(generator, camera, reach)
    return Scene(
        things=tuple(
            _thing(generator, look, size, place=place, air=air)
            for look, size, place in zip(looks, sizes, places, strict=True)
        ),
        camera=camera,
        light=Light(
            azimuth=generator.uniform(0, 360),
            elevation=generator.uniform(25, 75),
            sun=generator.uniform(0.6, 1.0),
            sky=generator.uniform(0.25, 0.4),
        ),
        ground=_vector(generator.uniform(0.15, 0.4) * generator.uniform(0.75, 1.25, size=3)),
        air_temperature=air,
    )


def one_of(generator: Generator, options: Sequence[str]) -> str:
    """Any of these, each as likely as the others."""
    return options[int(generator.integers(len(options)))]


def _camera(generator: Generator) -> Camera:
    azimuth = generator.uniform(0, 2 * math.pi)
    east, north = -_MIDDLE * math.cos(azimuth), -_MIDDLE * math.sin(azimuth)
    return Camera(
        position=(east, north, generator.uniform(1.5, 2.8)),
        target=(0.0, 0.0, generator.uniform(0.1, 1.3)),
        field_of_view=generator.uniform(46, 56),
        velocity=_vector(generator.uniform(-0.5, 0.5, size=3) * (1, 1, 0)),
    )


def _places(generator: Generator, camera: Camera, footprints: Sequence[float]) -> list[tuple[float, float]]:
    """Where things stand: within the picture, and not in one another."""
    right_east, right_north, _ = camera_axes(camera)[:, 0].tolist()
    wide = _REACH * math.tan(math.radians(camera.field_of_view) / 2)
    placed: list[tuple[float, float]] = []
    for _ in range(_TRIES):
        if len(placed) == len(footprints):
            return placed
        ahead = generator.uniform(_NEAREST, _FARTHEST)
        aside = ahead * generator.uniform(-wide, wide)
        # Ahead along the ground is right, turned by a quarter to the left.
        place = (
            camera.position[0] - ahead * right_north + aside * right_east,
            camera.position[1] + ahead * right_east + aside * right_north,
        )
        room = [_CROWDING * (other + footprints[len(placed)]) for other in footprints]
        if all(math.dist(place, other) >= apart for other, apart in zip(placed, room, strict=False)):
            placed.append(place)
    raise OptionError(f"There must be room for all things, got {len(footprints)}. Draw fewer.")


def _thing(generator: Generator, look: Look, size: str, *, place: tuple[float, float], air: float) -> Thing:
    kind = KINDS[look.kind]
    direction, speed = generator.uniform(0, 2 * math.pi), generator.uniform(0, kind.speed)
    return Thing(
        kind=look.kind,
        colour=look.colour,
        size=size,
        material=one_of(generator, list(MATERIALS)),
        pattern=one_of(generator, list(PATTERNS)),
        place=place,
        heading=generator.uniform(0, 360),
        velocity=(speed * math.cos(direction), speed * math.sin(direction)),
        temperature=generator.uniform(*(kind.temperatures or (air - _COOLER, air + _WARMER))),
    )


def _vector(values: Doubles) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z
