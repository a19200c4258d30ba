"""The program that times the writing of generated sets."""

from importlib import import_module

import pytest

from fuseloom.data.scenes.sets import SCENE_SETS


@pytest.mark.slow
def test_every_set_is_written_and_timed() -> None:
    program = import_module("scenes_speed")
    found = program.measured(rows=100, turns=2)
    assert found["seconds"].keys() == set(SCENE_SETS)
    assert all(len(times) == 2 and min(times) > 0 for times in found["seconds"].values())
    text = program.render({**found, "environment": {"commit": "none"}})
    assert "scenes-seg" in text
    assert "median" in text
