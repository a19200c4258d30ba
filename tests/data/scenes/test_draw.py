"""Scenes are a function of seed, split and number; what is held out; and that nothing tells the family."""

from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from fuseloom.data.scenes import (
    COLOURS,
    FAMILIES,
    KINDS,
    SIZES,
    SPLITS,
    Look,
    draw_look,
    draw_scene,
    family_of,
    generator_of,
    is_held_out,
    render,
    scene_of,
)
from fuseloom.data.scenes.words import seen_at
from fuseloom.errors import OptionError

SCENES = {split: [draw_scene(11, index, split) for index in range(150)] for split in SPLITS}


def test_a_scene_is_a_function_of_seed_split_and_number_alone() -> None:
    assert [draw_scene(11, index) for index in (5, 2)] == [SCENES["train"][5], SCENES["train"][2]]
    others = [draw_scene(12, 5), draw_scene(11, 5, "valid"), draw_scene(11, 6)]
    assert all(other != SCENES["train"][5] for other in others)


@pytest.mark.parametrize("split", SPLITS)
def test_only_test_scenes_have_the_combinations_that_are_held_out(split: str) -> None:
    things = [thing for scene in SCENES[split] for thing in scene.things]
    assert len(things) > 400
    assert {is_held_out(thing.kind, thing.colour) for thing in things} == {split == "test"}


def test_a_third_is_held_out_of_each_family_and_colour_and_of_each_kind() -> None:
    for colour in COLOURS:
        for kinds in FAMILIES.values():
            assert sum(is_held_out(kind, colour) for kind in kinds) == 1
    for kind in KINDS:
        assert sum(is_held_out(kind, colour) for colour in COLOURS) == 2


@pytest.mark.parametrize("held_out", [False, True])
def test_every_family_has_every_colour_equally_often(held_out: bool) -> None:
    generator = np.random.default_rng(0)
    for family in FAMILIES:
        looks = [draw_look(generator, family, held_out=held_out) for _ in range(1200)]
        counts = Counter(look.colour for look in looks)
        assert {family_of(look.kind) for look in looks} == {family}
        assert all(abs(counts[colour] - 200) < 4 * 200**0.5 for colour in COLOURS)
        assert len({look.kind for look in looks}) == 3


def test_all_kinds_colours_and_numbers_of_things_occur() -> None:
    scenes = SCENES["train"]
    assert {thing.kind for scene in scenes for thing in scene.things} == set(KINDS)
    assert {thing.colour for scene in scenes for thing in scene.things} == set(COLOURS)
    assert {len(scene.things) for scene in scenes} == {3, 4, 5, 6}


def test_things_stand_apart_and_in_the_picture() -> None:
    for scene in SCENES["train"][:60]:
        for one, other in combinations(scene.things, 2):
            apart = np.hypot(*np.subtract(one.place, other.place))
            reach = sum(KINDS[thing.kind].footprint * SIZES[thing.size] for thing in (one, other))
            assert apart >= 0.9 * reach
        across, _, depth = seen_at(scene).T
        assert (abs(across) < 0.45).all()
        assert (depth > 3).all()


def test_cameras_and_lights_vary() -> None:
    scenes = SCENES["train"]
    cameras = np.array([(*scene.camera.position, scene.camera.field_of_view) for scene in scenes])
    lights = np.array([(scene.light.azimuth, scene.light.elevation, scene.light.sun) for scene in scenes])
    assert (np.ptp(cameras, axis=0) > (9, 9, 1, 8)).all()
    assert (np.ptp(lights, axis=0) > (300, 40, 0.3)).all()


def test_some_things_hide_others() -> None:
    shares = []
    for scene in SCENES["train"][:25]:
        together = render(scene, 32, 32).instance
        for number, thing in enumerate(scene.things, start=1):
            alone = (render(replace(scene, things=(thing,)), 32, 32).instance == 1).sum()
            shares.append((together == number).sum() / max(alone, 1))
    assert 0.1 < np.mean(np.array(shares) < 0.95) < 0.7


def test_looks_are_kept_in_their_order() -> None:
    looks = [Look("car", "red"), Look("ball", "blue"), Look("car", "red")]
    things = scene_of(np.random.default_rng(0), looks).things
    assert [Look(thing.kind, thing.colour) for thing in things] == looks


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, "dev"), r"split must be one of \['train', 'valid', 'test'\], got 'dev'\."),
        ((-1, 0, "train"), r"seed and index must be 0 or more, got -1 and 0\."),
        ((0, -2, "train"), r"seed and index must be 0 or more, got 0 and -2\."),
    ],
    ids=["split", "seed", "index"],
)
def test_what_is_no_scene_is_refused(arguments: tuple[int, int, str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        draw_scene(*arguments)


def test_too_many_things_have_no_room() -> None:
    with pytest.raises(OptionError, match=r"There must be room for all things, got 60\. Draw fewer\."):
        scene_of(generator_of(0, "train", 0), [Look("car", "red")] * 60)


def test_nothing_may_be_there() -> None:
    empty = render(scene_of(np.random.default_rng(0), []), 8, 8)
    assert not empty.instance.any()
    assert (empty.rgb > 0).all()
