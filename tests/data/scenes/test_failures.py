"""Sensors that fail: what each failure changes, and that it leaves all else as it is."""

import numpy as np
import pytest

from fuseloom.data.scenes.failures import FAILURES, failed
from fuseloom.data.scenes.render import Maps
from fuseloom.data.scenes.seg import SegScenes, seg_example
from fuseloom.errors import OptionError


@pytest.fixture(scope="module")
def maps() -> Maps:
    return seg_example(SegScenes(pixels=64), 1, 1).maps


def fail(maps: Maps, name: str, seed: int = 0) -> Maps:
    return failed(maps, name, np.random.default_rng(seed))


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_changes_its_sensor_and_no_other(maps: Maps, name: str) -> None:
    found = fail(maps, name)
    changed = {kind for kind in maps if found[kind] is not maps[kind]}
    assert changed == {"jitter": {"depth", "lidar"}, "holes": {"depth"}, "no-depth": {"depth"}}.get(
        name, {"rgb"}
    )
    for kind in changed:
        assert found[kind].dtype == maps[kind].dtype
        assert found[kind].shape == maps[kind].shape
        assert (found[kind] != maps[kind]).mean() > 0.03


def test_night_is_dark_and_its_noise_is_drawn(maps: Maps) -> None:
    assert fail(maps, "night")["rgb"].mean() < 0.35 * maps["rgb"].mean()
    assert (fail(maps, "night")["rgb"] != fail(maps, "night", seed=1)["rgb"]).any()


def test_fog_hides_what_is_far_more_than_what_is_near(maps: Maps) -> None:
    near = maps["depth"] < np.quantile(maps["depth"], 0.2)
    kept = [np.ptp(fail(maps, "fog")["rgb"][part], axis=0).mean() for part in (near, ~near)]
    plain = [np.ptp(maps["rgb"][part], axis=0).mean() for part in (near, ~near)]
    assert kept[0] / plain[0] > kept[1] / plain[1]
    sky = np.isinf(maps["depth"])
    assert np.unique(fail(maps, "fog")["rgb"][sky]).size == 1


def test_too_much_light_leaves_white(maps: Maps) -> None:
    assert (fail(maps, "overexposed")["rgb"] == 255).mean() > 0.5


def test_a_shaken_picture_is_smeared_along_rows(maps: Maps) -> None:
    along, across = (
        np.abs(np.diff(fail(maps, "shaken")["rgb"].astype(int), axis=axis)).mean() for axis in (1, 0)
    )
    assert along < across
    even = {"rgb": np.full((4, 40, 3), 90, dtype=np.uint8)}
    np.testing.assert_array_equal(fail(even, "shaken")["rgb"], even["rgb"])


def test_holes_are_blocks_of_no_distance(maps: Maps) -> None:
    lost = fail(maps, "holes")["depth"] == 0
    assert 0.4 < lost.mean() < 0.8
    blocks = lost.reshape(16, 4, 16, 4).any((1, 3))
    assert blocks.repeat(4, 0).repeat(4, 1).sum() == lost.sum()


def test_distances_that_shake_stay_where_they_are_unknown(maps: Maps) -> None:
    found = fail(maps, "jitter")
    assert np.isinf(found["depth"][np.isinf(maps["depth"])]).all()
    assert (found["lidar"][maps["lidar"] == 0] == 0).all()
    known = np.isfinite(maps["depth"])
    assert np.std(found["depth"][known] - maps["depth"][known]) == pytest.approx(0.25, abs=0.02)


def test_an_unknown_failure_is_answered(maps: Maps) -> None:
    with pytest.raises(OptionError, match=r"failure must be one of .* got 'fogs'\. Did you mean 'fog'"):
        fail(maps, "fogs")
