"""Pictures, and the kinds of things that they show."""

import csv
from pathlib import Path

import numpy as np
import pytest

from fuseloom.data import load
from fuseloom.data.media import read_image
from fuseloom.data.scenes import KINDS, is_held_out
from fuseloom.data.scenes.things import (
    ThingsScenes,
    kinds_in,
    read_things,
    things_example,
    write_things_scenes,
)
from fuseloom.errors import DataError, OptionError


def test_what_is_told_is_what_shows_enough_of_itself() -> None:
    hidden = 0
    for index in range(60):
        example = things_example(ThingsScenes(), 4, index)
        scene, shown = example.rendering.scene, example.rendering.shown
        plain = {thing.kind for thing, pixels in zip(scene.things, shown, strict=True) if pixels >= 40}
        assert example.kinds == tuple(sorted(plain)) == kinds_in(example.rendering)
        hidden += plain != {thing.kind for thing in scene.things}
    assert hidden > 0


def test_larger_pictures_must_show_as_large_a_share() -> None:
    small, large = (things_example(ThingsScenes(pixels=side), 4, 1) for side in (64, 128))
    assert large.rendering.shown != small.rendering.shown
    assert large.kinds == small.kinds


def test_pictures_to_test_on_have_combinations_that_others_never_have() -> None:
    for split in ("train", "valid", "test"):
        for index in range(20):
            things = things_example(ThingsScenes(), 1, index, split).rendering.scene.things
            assert {is_held_out(thing.kind, thing.colour) for thing in things} == {split == "test"}


def test_what_is_written_is_read_as_several_classes_a_row(tmp_path: Path) -> None:
    stated = write_things_scenes(tmp_path / "made", pictures={"train": 12, "valid": 3, "test": 5}, seed=3)
    assert {split: ceilings.image for split, ceilings in stated.items()} == dict.fromkeys(stated, 1.0)
    rows = load(tmp_path / "made")
    assert [*rows.modalities] == ["image"]
    assert rows.split is not None
    assert [(rows.split == split).sum() for split in ("train", "valid", "test")] == [12, 3, 5]
    assert rows.target is not None
    for place, row in enumerate(rows.ids):
        split, index = row.split("_")
        example = things_example(ThingsScenes(), 3, int(index), split)
        assert rows.target[place] == "|".join(example.kinds)
        assert set(example.kinds) <= set(KINDS)
        picture = read_image(rows.modalities["image"].items[place])
        assert np.abs(picture.astype(int) - example.rendering.rgb).mean() < 4


def test_bad_input_is_answered(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"pixels must be at least 16, got 8\."):
        ThingsScenes(pixels=8)
    with (tmp_path / "scenes-things.csv").open("w", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "split", "picture", "things"], ["a", "train", "a.jpg", "ball"]])
    with pytest.raises(DataError, match=r"image must name a column .* got 'image'"):
        read_things(tmp_path)
