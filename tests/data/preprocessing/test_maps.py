"""Maps of numbers as a model gets them: cut as pictures are, standardised, with their holes."""

import json
from typing import Any

import numpy as np
import pytest

from fuseloom.data.dataset import Image, Map
from fuseloom.data.preprocessing import PREPROCESSORS, ImagePreprocessor, MapPreprocessor
from fuseloom.errors import DataError, OptionError

ALL = np.arange(6)


def objects(*values: Any) -> np.ndarray:
    items = np.empty(len(values), dtype=object)
    items[:] = values
    return items


def depths(*, size: tuple[int, int] = (12, 20)) -> Map:
    generator = np.random.default_rng(0)
    drawn = [generator.normal(1000 + 100 * row, 30, size).astype(np.uint16) for row in range(5)]
    drawn[0][:3] = 0
    return Map(items=objects(*drawn, None))


def test_what_is_known_has_mean_zero_and_deviation_one_and_what_is_not_is_zero() -> None:
    learnt = MapPreprocessor.fit(depths(size=(16, 16)), ALL, size=16, unknown=0)
    values, mask = learnt.apply(depths(size=(16, 16)))
    assert values.shape == (6, 1, 16, 16)
    assert values.dtype == np.float32
    assert (mask[0, :3] == False).all()  # noqa: E712
    assert mask[0, 3:].all()
    assert not mask[5].any()
    assert (values[:, 0][~mask] == 0).all()
    known = values[:, 0][mask]
    assert known.mean() == pytest.approx(0, abs=1e-5)
    assert known.std() == pytest.approx(1, abs=1e-5)


def test_without_a_number_for_it_only_what_is_no_number_is_unknown() -> None:
    heat = Map(items=objects(np.array([[0.0, np.nan], [2.0, 4.0]])))
    values, mask = MapPreprocessor.fit(heat, ALL[:1], size=2).apply(heat)
    assert mask[0].tolist() == [[True, False], [True, True]]
    assert values[0, 0, 1, 0] == pytest.approx(0)


@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize("size", [(12, 20), (31, 17), (5, 5)])
def test_a_map_is_cut_where_its_picture_is(size: tuple[int, int], squash: bool) -> None:
    ramp = np.add.outer(np.arange(size[0]) * 4, np.arange(size[1]) * 4).astype(np.uint8)
    picture = Image(items=objects(ramp))
    pixels, _ = ImagePreprocessor.fit(picture, ALL[:1], size=8, squash=squash).apply(picture)
    learnt = MapPreprocessor.fit(Map(items=objects(ramp)), ALL[:1], size=8, squash=squash)
    values, _ = learnt.apply(Map(items=objects(ramp)))
    found = values[0, 0] * learnt.std[0] + learnt.mean[0]
    assert np.abs(found - pixels[0, 0].astype(float)).max() <= 14  # of the nearest, not of the mean


def test_numbers_stay_those_of_the_file_and_are_not_mixed() -> None:
    steps = np.where(np.arange(20) < 10, 1.0, 900.0)[None].repeat(20, 0)
    learnt = MapPreprocessor.fit(Map(items=objects(steps)), ALL[:1], size=7)
    values, _ = learnt.apply(Map(items=objects(steps)))
    assert len(np.unique(values)) == 2


def test_the_size_is_learnt_and_what_is_learnt_survives_json() -> None:
    learnt = MapPreprocessor.fit(depths(), ALL, unknown=0)
    assert learnt.size == 12
    assert MapPreprocessor.fit(depths(size=(3, 3)), ALL).size == 8
    back = PREPROCESSORS["map"].from_state(json.loads(json.dumps(learnt.state())))
    assert back == learnt
    assert back.encoder_options() == {"channels": 1}


def test_no_map_at_all_is_a_map_of_which_nothing_is_known() -> None:
    nothing = Map(items=objects(None, None))
    values, mask = MapPreprocessor.fit(nothing, ALL[:2]).apply(nothing)
    assert values.shape == (2, 1, 8, 8)
    assert not mask.any()


def test_other_channels_are_answered() -> None:
    mixed = Map(items=objects(np.ones((4, 4)), np.ones((4, 4, 3))))
    with pytest.raises(DataError, match=r"as many channels as one another, got \[1, 3\]"):
        MapPreprocessor.fit(mixed, ALL[:2])
    learnt = MapPreprocessor.fit(mixed, ALL[:1])
    with pytest.raises(DataError, match="must have 1 channels as in training, got 3"):
        learnt.apply(mixed)


def test_hha_of_a_depth_takes_its_place_and_a_saved_model_keeps_the_camera() -> None:
    across = np.linspace(1000, 3000, 24)
    tilted = Map(items=objects(*(np.tile(across + 50 * row, (24, 1)).astype(np.uint16) for row in range(3))))
    tilted.items[0][:4] = 0
    learnt = MapPreprocessor.fit(tilted, ALL[:3], size=24, unknown=0, hha=60)
    assert learnt.encoder_options() == {"channels": 3}
    values, mask = learnt.apply(tilted)
    assert values.shape == (3, 3, 24, 24)
    assert not mask[0, :4].any()
    assert mask[0, 4:].all()
    again = PREPROCESSORS["map"].from_state(json.loads(json.dumps(learnt.state())))
    assert np.array_equal(again.apply(tilted)[0], values)
    assert (values[0, 0, 10, 0] - values[0, 0, 10, -1]) > 1  # near things have a large disparity


def test_hha_of_what_is_no_depth_or_by_no_camera_is_refused() -> None:
    colours = Map(items=objects(np.ones((8, 8, 3))))
    with pytest.raises(DataError, match="a depth must have one channel, of which HHA is taken, got 3"):
        MapPreprocessor.fit(colours, ALL[:1], hha="nyudv2")
    with pytest.raises(OptionError, match="got 'kinect'"):
        MapPreprocessor.fit(depths(), ALL, hha="kinect")


def test_numbers_told_apart_by_logarithms_are_standardised_so() -> None:
    far = Map(items=objects(np.array([[0, 9], [99, 999]], dtype=np.uint16)))
    learnt = MapPreprocessor.fit(far, ALL[:1], size=2, unknown=0, log=True)
    again = PREPROCESSORS["map"].from_state(json.loads(json.dumps(learnt.state())))
    values, mask = again.apply(far)
    assert mask[0].tolist() == [[False, True], [True, True]]
    np.testing.assert_allclose(values[0, 0][mask[0]], [-(1.5**0.5), 0, 1.5**0.5], rtol=1e-5, atol=1e-5)
    with pytest.raises(OptionError, match="log must be False where HHA is taken of a depth"):
        MapPreprocessor.fit(far, ALL[:1], log=True, hha=60)
