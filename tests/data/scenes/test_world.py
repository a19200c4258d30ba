"""The words of the world and how it moves."""

from dataclasses import replace

import pytest

from fuseloom.data.scenes import COLOURS, MATERIALS, Camera, Light, Scene, Thing
from fuseloom.data.scenes.world import moved

CAMERA = Camera(position=(0, -6, 2), target=(0, 0, 1), velocity=(1, 0.5, 0))
BALL = Thing(kind="ball", colour="red", place=(1, 2), velocity=(-2, 4))
SCENE = Scene(things=(BALL,), camera=CAMERA, light=Light(azimuth=0, elevation=45))


def test_all_go_on_in_a_straight_line_and_the_camera_looks_ahead() -> None:
    later = moved(SCENE, 0.25)
    assert later.things == (replace(BALL, place=(0.5, 3.0)),)
    assert later.camera.position == (0.25, -5.875, 2)
    assert later.camera.target == (0.25, 0.125, 1)
    assert moved(later, -0.25) == SCENE
    assert moved(SCENE, 0) == SCENE


def test_surfaces_reflect_and_send_out_no_more_than_all() -> None:
    assert all(0 < share < 1 for colour in COLOURS.values() for share in colour)
    assert all(0 < one.emissivity <= 1 for one in MATERIALS.values())


def test_a_scene_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        SCENE.camera.field_of_view = 3  # type: ignore[misc]
