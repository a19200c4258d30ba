"""What words say of a scene, against where pixels are."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from fuseloom.data.scenes import (
    RELATIONS,
    Camera,
    Light,
    Scene,
    Thing,
    draw_scene,
    holds,
    name_of,
    relations_of,
    render,
    sentence_of,
)
from fuseloom.data.scenes.words import OPPOSITES, height_of, seen_at
from fuseloom.errors import OptionError

BALL = Thing(kind="ball", colour="red", place=(0.0, 1.0))
TOWER = Thing(kind="tower", colour="white", place=(3.0, -1.0), size="large")
CAMERA = Camera(position=(-5.0, 0.0, 2.0), target=(0.0, 0.0, 0.5))
SCENE = Scene(things=(BALL, TOWER), camera=CAMERA, light=Light(azimuth=0, elevation=45))


def test_relations_are_as_the_camera_sees_them() -> None:
    # The camera looks east, so that north is left and east is behind.
    assert relations_of(SCENE, 0, 1) == ["left of", "in front of", "smaller than"]
    assert relations_of(SCENE, 1, 0) == ["right of", "behind", "larger than"]
    across, _, depth = seen_at(SCENE).T
    assert across[0] < 0 < across[1]
    assert depth[0] < depth[1]


def test_names_and_sentences() -> None:
    assert name_of(TOWER) == "white tower"
    assert sentence_of(SCENE, 0, "left of", 1) == "the red ball is left of the white tower"
    assert height_of(BALL) == pytest.approx(1.0)


@pytest.mark.parametrize("index", range(4))
def test_no_relation_holds_both_ways_and_each_is_its_opposite_the_other_way(index: int) -> None:
    scene = draw_scene(5, index)
    for one, other in permutations(range(len(scene.things)), 2):
        for relation in RELATIONS:
            assert holds(scene, one, relation, other) == holds(scene, other, OPPOSITES[relation], one)
            assert not (holds(scene, one, relation, other) and holds(scene, other, relation, one))
    assert all(not relations_of(scene, one, one) for one in range(len(scene.things)))


@pytest.mark.parametrize("index", range(6))
def test_pixels_bear_out_what_words_say(index: int) -> None:
    scene = draw_scene(9, index)
    alone = [render(replace(scene, things=(thing,))) for thing in scene.things]
    columns = [np.nonzero(one.instance)[1] for one in alone]
    depths = [one.depth[one.instance == 1] for one in alone]
    for one, other in permutations(range(len(scene.things)), 2):
        if holds(scene, one, "left of", other):
            assert np.ptp(columns[one]) > 20 or columns[one].mean() < columns[other].mean()
        if holds(scene, one, "behind", other):
            assert np.median(depths[one]) > np.median(depths[other])


def test_an_unknown_relation_is_refused() -> None:
    with pytest.raises(OptionError, match=r"relation must be .*, got 'left'\. Did you mean 'left of'\?"):
        holds(SCENE, 0, "left", 1)
