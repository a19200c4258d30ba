"""Brightness in closed form: the cosine of the sun, the sky, shadows and gloss."""

from dataclasses import replace

import numpy as np
import pytest

from fuseloom.data.scenes.bodies import Surfaces
from fuseloom.data.scenes.geometry import Hits, Solids
from fuseloom.data.scenes.light import brightness, encoded, sky_colour, sun_direction
from fuseloom.data.scenes.world import Light

LIGHT = Light(azimuth=0, elevation=30, sun=0.8, sky=0.2)
NOTHING = Solids(
    shape=np.array([], dtype=str), centre=np.zeros((0, 3)), axes=np.zeros((0, 3, 3)), half=np.zeros((0, 3))
)
NORMALS = np.array([(0, 0, 1.0), (1.0, 0, 0), (-1.0, 0, 0), (0, 0, -1.0)])
HITS = Hits(distance=np.ones(4), normal=NORMALS, solid=np.zeros(4, dtype=np.intp))
MATT = Surfaces(
    colour=np.full((4, 3), 0.5), gloss=np.zeros(4), emissivity=np.ones(4), temperature=np.full(4, 280.0)
)
POINTS = np.array([(0, 0, 0.0)] * 4)


def test_a_matt_surface_is_as_bright_as_the_sun_faces_it() -> None:
    found = brightness(NOTHING, LIGHT, HITS, MATT, POINTS, -NORMALS)
    facing = np.array([np.sin(np.pi / 6), np.cos(np.pi / 6), 0, 0])
    overhead = 0.75 + 0.25 * NORMALS[:, 2]
    np.testing.assert_allclose(found[:, 0], 0.5 * (0.8 * facing + 0.2 * overhead))
    np.testing.assert_array_equal(found[:, 0], found[:, 2])


def test_what_stands_between_a_point_and_the_sun_throws_a_shadow() -> None:
    between = Solids(
        shape=np.array(["ball"]),
        centre=5 * sun_direction(LIGHT)[None],
        axes=np.eye(3)[None],
        half=np.full((1, 3), 0.5),
    )
    shaded = brightness(between, LIGHT, HITS, MATT, POINTS, -NORMALS)
    night = brightness(NOTHING, replace(LIGHT, sun=0), HITS, MATT, POINTS, -NORMALS)
    np.testing.assert_allclose(shaded, night)
    beside = brightness(between, LIGHT, HITS, MATT, POINTS + np.array([0, 1, 0]), -NORMALS)
    np.testing.assert_allclose(beside, brightness(NOTHING, LIGHT, HITS, MATT, POINTS, -NORMALS))


def test_gloss_is_brightest_where_the_sun_is_mirrored() -> None:
    glossy = replace(MATT, gloss=np.full(4, 0.5))
    sun = sun_direction(LIGHT)
    mirrored = np.array([-sun[0], sun[1], sun[2]])
    towards_mirror = brightness(NOTHING, LIGHT, HITS, glossy, POINTS, np.tile(-mirrored, (4, 1)))
    matt = brightness(NOTHING, LIGHT, HITS, MATT, POINTS, np.tile(-mirrored, (4, 1)))
    np.testing.assert_allclose(towards_mirror[0] - matt[0], 0.8 * 0.5)
    elsewhere = brightness(NOTHING, LIGHT, HITS, glossy, POINTS, np.tile((0, -1.0, 0), (4, 1)))
    assert (elsewhere[0] - matt[0]).max() < 0.05
    np.testing.assert_array_equal(towards_mirror[2:], matt[2:])


def test_the_sky_is_palest_over_the_horizon() -> None:
    up, along = sky_colour(LIGHT, np.array([(0, 0, 1.0), (0, 1.0, 0)]))
    assert (along > up).all()
    assert up[2] > up[0]


def test_encoding_is_monotone_and_clips() -> None:
    linear = np.linspace(-0.5, 1.5, 201)
    pixels = encoded(linear)
    assert (np.diff(pixels.astype(int)) >= 0).all()
    assert (pixels[0], pixels[-1]) == (0, 255)
    assert encoded(np.array([0.5]))[0] == pytest.approx(255 * 0.5 ** (1 / 2.2), abs=0.5)
