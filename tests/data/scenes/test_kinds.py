"""The table of kinds: enough of them, standing on the ground, of known paints and shapes."""

import pytest

from fuseloom.data.scenes.bodies import solids_of
from fuseloom.data.scenes.geometry import SHAPES
from fuseloom.data.scenes.kinds import FAMILIES, KINDS, PAINTS, family_of
from fuseloom.data.scenes.world import Camera, Light, Scene, Thing


def test_there_are_enough_kinds_in_families_of_three() -> None:
    assert len(KINDS) >= 12
    assert {len(kinds) for kinds in FAMILIES.values()} == {3}
    assert sorted(kind for kinds in FAMILIES.values() for kind in kinds) == sorted(KINDS)
    assert all(kind in FAMILIES[family_of(kind)] for kind in KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_stands_on_the_ground_and_shows_its_colour(name: str) -> None:
    kind = KINDS[name]
    lowest = min(part.centre[2] - part.half[2] for part in kind.parts)
    assert lowest == pytest.approx(0, abs=0.051)
    assert 0.5 < kind.height < 2.2
    assert 0.3 < kind.footprint < 1.0
    assert any(part.paint is None for part in kind.parts)
    for part in kind.parts:
        assert part.shape in SHAPES
        assert part.paint is None or part.paint in PAINTS


@pytest.mark.parametrize("name", KINDS)
def test_only_what_warms_itself_has_warm_parts(name: str) -> None:
    kind = KINDS[name]
    assert any(part.warm for part in kind.parts) == (kind.temperatures is not None)


@pytest.mark.parametrize("name", KINDS)
def test_height_and_footprint_are_those_of_its_solids(name: str) -> None:
    camera = Camera(position=(0, -6, 2), target=(0, 0, 1))
    scene = Scene(
        things=(Thing(kind=name, colour="red"),), camera=camera, light=Light(azimuth=0, elevation=45)
    )
    solids = solids_of(scene)
    extent = (abs(solids.axes) * solids.half[:, None]).sum(-1)
    assert (solids.centre + extent)[:, 2].max() == pytest.approx(KINDS[name].height)
    assert (abs(solids.centre) + extent)[:, :2].max() == pytest.approx(KINDS[name].footprint)
