"""Things as solids: where their parts are, and which surface is met."""

from dataclasses import replace

import numpy as np
import pytest

from fuseloom.data.scenes import COLOURS, KINDS, MATERIALS, PATTERNS, SIZES, Camera, Light, Scene, Thing
from fuseloom.data.scenes.bodies import check_thing, solids_of, surfaces_at, things_of
from fuseloom.errors import OptionError

CAMERA = Camera(position=(0, -6, 2), target=(0, 0, 1))
CAR = Thing(kind="car", colour="blue", size="large", place=(3, -2), heading=90, temperature=320)


def scene(*things: Thing) -> Scene:
    return Scene(things=things, camera=CAMERA, light=Light(azimuth=0, elevation=45), air_temperature=280)


def test_parts_turn_and_grow_with_their_thing() -> None:
    solids, part, scale = solids_of(scene(CAR)), KINDS["car"].parts[1], SIZES["large"] * KINDS["car"].scale
    forward, left, up = part.centre
    # Facing north, forward is north and left is west.
    np.testing.assert_allclose(solids.centre[1], [3 - scale * left, -2 + scale * forward, scale * up])
    np.testing.assert_allclose(solids.half[1], scale * np.array(part.half))
    np.testing.assert_allclose(solids.axes[1], [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)


def test_a_wheel_lies_along_the_axle() -> None:
    solids = solids_of(scene(replace(CAR, heading=0)))
    wheel = next(number for number, part in enumerate(KINDS["car"].parts) if part.axis == "left")
    np.testing.assert_allclose(solids.axes[wheel][:, 2], [0, 1, 0])
    np.testing.assert_allclose(np.linalg.det(solids.axes[wheel]), 1)
    width = KINDS["car"].parts[wheel].half[1] * SIZES["large"] * KINDS["car"].scale
    assert solids.half[wheel][2] == pytest.approx(width)


def test_solids_are_in_the_order_of_things() -> None:
    things = (CAR, Thing(kind="ball", colour="red"), CAR)
    count = len(KINDS["car"].parts)
    assert things_of(scene(*things)).tolist() == [0] * count + [1] + [2] * count


def test_a_surface_has_its_things_colour_and_material_or_its_own_paint() -> None:
    found = surfaces_at(scene(replace(CAR, material="metal")), np.array([0, 1, -1]), np.full((3, 3), 0.5))
    np.testing.assert_allclose(found.colour[0], COLOURS["blue"])
    assert found.emissivity.tolist() == [MATERIALS["metal"].emissivity, 0.88, 0.95]
    assert found.temperature.tolist() == [320, 280, 280]
    np.testing.assert_allclose(found.colour[2], Scene(things=(), camera=CAMERA, light=scene().light).ground)


def test_what_does_not_warm_itself_is_of_one_temperature() -> None:
    found = surfaces_at(
        scene(Thing(kind="tree", colour="red", temperature=291)), np.array([0, 1]), np.zeros((2, 3))
    )
    assert found.temperature.tolist() == [291, 291]


@pytest.mark.parametrize(
    ("pattern", "dark"),
    [("plain", [False, False, False]), ("striped", [False, False, True]), ("checked", [False, True, True])],
)
def test_patterns_turn_and_move_with_their_thing(pattern: str, dark: list[bool]) -> None:
    crate = Thing(kind="crate", colour="white", pattern=pattern, place=(1, 2), heading=90)
    own = np.array([(0.1, 0.1, 0.1), (0.4, 0.1, 0.1), (0.1, 0.1, 0.4)])
    points = np.column_stack([1 - own[:, 1], 2 + own[:, 0], own[:, 2]])
    found = surfaces_at(scene(crate), np.array([0, 0, 0]), points)
    assert (found.colour[:, 0] < 0.5 * COLOURS["white"][0]).tolist() == dark


@pytest.mark.parametrize("name", ["kind", "colour", "size", "material", "pattern"])
def test_an_unknown_word_is_refused_with_the_nearest(name: str) -> None:
    known = {"kind": KINDS, "colour": COLOURS, "size": SIZES, "material": MATERIALS, "pattern": PATTERNS}
    word = next(iter(known[name]))
    wrong = replace(CAR, **{name: f"{word}s"})
    with pytest.raises(
        OptionError, match=rf"^{name} must be one .*, got '{word}s'\. Did you mean '{word}'\?"
    ):
        check_thing(wrong)
