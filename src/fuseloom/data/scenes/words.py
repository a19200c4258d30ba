"""What can be said of a scene: the names of its things, and how two of them stand to one another."""

from collections.abc import Callable, Mapping

import numpy as np

from fuseloom.data.scenes.camera import project
from fuseloom.data.scenes.kinds import KINDS
from fuseloom.data.scenes.world import SIZES, Doubles, Scene, Thing
from fuseloom.errors import OptionError, did_you_mean

__all__ = [
    "OPPOSITES",
    "RELATIONS",
    "height_of",
    "holds",
    "name_of",
    "relations_of",
    "seen_at",
    "sentence_of",
]

_APART = 0.08
"""Of the picture's width: how far the middles of two things must be apart for one to be left of the other."""
_BEHIND = 0.6
"""Metres of depth between two of which one is behind the other."""
_LARGER = 1.2
"""How many times as high a thing is that is larger."""


def name_of(thing: Thing) -> str:
    """What a thing is called.

    Example:
        >>> name_of(Thing(kind="tree", colour="blue"))
        'blue tree'
    """
    return f"{thing.colour} {thing.kind}"


def height_of(thing: Thing) -> float:
    """Metres from the ground to the top."""
    return KINDS[thing.kind].height * SIZES[thing.size]


def seen_at(scene: Scene) -> Doubles:
    """Where the middles of all things are in the picture, and how deep, as `project` says it ``[N, 3]``."""
    middles = [(*thing.place, height_of(thing) / 2) for thing in scene.things]
    return project(scene.camera, np.array(middles, dtype=np.float64).reshape(-1, 3))


def _left(scene: Scene, one: int, other: int) -> bool:
    across = seen_at(scene)[:, 0]
    return bool(across[other] - across[one] >= _APART)


def _behind(scene: Scene, one: int, other: int) -> bool:
    depth = seen_at(scene)[:, 2]
    return bool(depth[one] - depth[other] >= _BEHIND)


def _larger(scene: Scene, one: int, other: int) -> bool:
    return height_of(scene.things[one]) >= _LARGER * height_of(scene.things[other])


RELATIONS: Mapping[str, Callable[[Scene, int, int], bool]] = {
    "left of": _left,
    "right of": lambda scene, one, other: _left(scene, other, one),
    "behind": _behind,
    "in front of": lambda scene, one, other: _behind(scene, other, one),
    "larger than": _larger,
    "smaller than": lambda scene, one, other: _larger(scene, other, one),
}
"""Relation -> whether the first thing, by its number in the scene, stands so to the second.

Left and behind are as the camera sees it. Of two that are much alike neither a relation nor its opposite
holds.
"""

OPPOSITES: Mapping[str, str] = {
    "left of": "right of",
    "right of": "left of",
    "behind": "in front of",
    "in front of": "behind",
    "larger than": "smaller than",
    "smaller than": "larger than",
}
"""Relation -> the one that then holds the other way round."""


def holds(scene: Scene, one: int, relation: str, other: int) -> bool:
    """Whether one thing, by its place in the scene, stands in a relation to another.

    Raises:
        OptionError: there is no such relation.
    """
    if relation not in RELATIONS:
        raise OptionError(
            f"relation must be one that is defined, got {relation!r}.{did_you_mean(relation, RELATIONS)}"
        )
    return RELATIONS[relation](scene, one, other)


def relations_of(scene: Scene, one: int, other: int) -> list[str]:
    """All relations of one thing to another that hold."""
    return [relation for relation in RELATIONS if holds(scene, one, relation, other)]


def sentence_of(scene: Scene, one: int, relation: str, other: int) -> str:
    """A sentence that says how one thing stands to another, true or not.

    Example:
        >>> from fuseloom.data.scenes import draw_scene
        >>> scene = draw_scene(seed=0, index=3)
        >>> sentence_of(scene, 0, relations_of(scene, 0, 1)[0], 1)
        'the yellow walker is left of the yellow flag'
    """
    return f"the {name_of(scene.things[one])} is {relation} the {name_of(scene.things[other])}"
