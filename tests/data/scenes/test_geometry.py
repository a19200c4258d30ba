"""Where rays meet solids, against a walk along each ray that asks at every step whether it is inside."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from fuseloom.data.scenes import geometry
from fuseloom.data.scenes.geometry import SHAPES, Solids, cast

Doubles = NDArray[np.float64]


def within_round(top: float) -> Callable[[Doubles], NDArray[np.bool_]]:
    def inside(points: Doubles) -> NDArray[np.bool_]:
        x, y, z = points.T
        return (np.abs(z) <= 1) & (np.hypot(x, y) <= 1 + (top - 1) * (z + 1) / 2)

    return inside


INSIDE: dict[str, Callable[[Doubles], NDArray[np.bool_]]] = {
    "ball": lambda p: np.linalg.norm(p, axis=1) <= 1,
    "box": lambda p: np.abs(p).max(1) <= 1,
    "pyramid": lambda p: (p[:, 2] >= -1) & (np.abs(p[:, :2]).max(1) <= (1 - p[:, 2]) / 2),
    "roof": lambda p: (p[:, 2] >= -1) & (np.abs(p[:, 1]) <= (1 - p[:, 2]) / 2) & (np.abs(p[:, 0]) <= 1),
    "cylinder": within_round(1.0),
    "cone": within_round(0.0),
    "tapered": within_round(0.6),
}
STEP = 0.01


def turned(generator: np.random.Generator) -> Doubles:
    axes, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    return axes * np.sign(np.linalg.det(axes))


def solid(shape: str, centre: object = (0, 0, 0), half: object = (1, 1, 1), axes: object = None) -> Solids:
    return Solids(
        shape=np.array([shape]),
        centre=np.array([centre], dtype=float),
        axes=np.array([np.eye(3) if axes is None else axes], dtype=float),
        half=np.array([half], dtype=float),
    )


def joined(*solids: Solids) -> Solids:
    names = ("shape", "centre", "axes", "half")
    return Solids(**{name: np.concatenate([getattr(one, name) for one in solids]) for name in names})


def some_rays(generator: np.random.Generator, number: int, distance: float = 6.0) -> tuple[Doubles, Doubles]:
    """From all around towards somewhere near the middle."""
    origins = generator.normal(size=(number, 3))
    origins *= distance / np.linalg.norm(origins, axis=1, keepdims=True)
    directions = generator.uniform(-1.2, 1.2, size=(number, 3)) - origins
    return origins, directions / np.linalg.norm(directions, axis=1, keepdims=True)


def walked(one: Solids, origins: Doubles, directions: Doubles) -> Doubles:
    """The first step at which each ray is inside, to within a step; infinite if it never is."""
    found = np.full(len(origins), np.inf)
    for distance in np.arange(0, 12, STEP)[::-1]:
        points = (origins + distance * directions - one.centre[0]) @ one.axes[0] / one.half[0]
        found[INSIDE[str(one.shape[0])](points)] = distance
    return found


def test_every_shape_has_its_walk() -> None:
    assert set(INSIDE) == set(SHAPES)


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_rays_enter_where_a_walk_along_them_does(shape: str) -> None:
    generator = np.random.default_rng(1)
    one = solid(shape, (0.3, -0.2, 0.1), (0.7, 1.3, 1.0), turned(generator))
    origins, directions = some_rays(generator, 400)
    hits, found = cast(one, origins, directions), walked(one, origins, directions)
    both = np.isfinite(found) & np.isfinite(hits.distance)
    assert both.sum() > 100
    gaps = found[both] - hits.distance[both]
    assert gaps.min() > -1e-9
    assert np.quantile(gaps, 0.98) < STEP
    assert not (np.isfinite(found) & np.isinf(hits.distance)).any()
    # What only grazes may lie between two steps.
    assert (np.isinf(found) & np.isfinite(hits.distance)).mean() < 0.01
    assert (np.isinf(found) & np.isinf(hits.distance)).sum() > 30
    np.testing.assert_array_equal(hits.solid, np.where(np.isfinite(hits.distance), 0, -1))


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_normals_are_of_unit_length_and_stand_on_the_surface(shape: str) -> None:
    generator = np.random.default_rng(2)
    one = solid(shape, (0, 0, 0), (0.7, 1.3, 1.0), turned(generator))
    origins, directions = some_rays(generator, 300)
    hits = cast(one, origins, directions)
    met = np.flatnonzero(np.isfinite(hits.distance))
    normal = hits.normal[met]
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1)
    assert (np.einsum("rc,rc->r", normal, directions[met]) < 0).all()
    assert not hits.normal[np.isinf(hits.distance)].any()
    points = origins[met] + hits.distance[met, None] * directions[met]
    # Rays along the normal from a little outside meet the same point with the same normal.
    again = cast(one, points + 0.01 * normal, -normal)
    near = np.isfinite(again.distance)
    assert near.mean() > 0.97
    np.testing.assert_allclose(again.distance[near], 0.01, atol=1e-7)
    # And sideways steps along the surface leave it only to second order.
    aside = np.cross(normal, generator.normal(size=normal.shape))
    aside *= 1e-3 / np.linalg.norm(aside, axis=1, keepdims=True)
    beside = cast(one, points + 0.01 * normal + aside, -normal)
    assert np.median(np.abs(beside.distance - 0.01)) < 1e-5


@pytest.mark.parametrize(
    ("shape", "origin", "direction", "distance", "normal"),
    [
        ("ball", (0, -3, 0), (0, 1, 0), 2, (0, -1, 0)),
        ("box", (0.5, 0.5, 4), (0, 0, -1), 3, (0, 0, 1)),
        ("cylinder", (0, 0, 4), (0, 0, -1), 3, (0, 0, 1)),
        ("cylinder", (0.5, 0.5, -4), (0, 0, 1), 3, (0, 0, -1)),
        ("cone", (0, 0, -4), (0, 0, 1), 3, (0, 0, -1)),
        ("cone", (0.5, 0, 4), (0, 0, -1), 4, (2 / 5**0.5, 0, 1 / 5**0.5)),
        ("cone", (0, -3, 0), (0, 1, 0), 2.5, (0, -2 / 5**0.5, 1 / 5**0.5)),
        ("tapered", (0.3, 0, 4), (0, 0, -1), 3, (0, 0, 1)),
        ("pyramid", (0.5, 0, 4), (0, 0, -1), 4, (2 / 5**0.5, 0, 1 / 5**0.5)),
        ("roof", (0.9, 0, 4), (0, 0, -1), 3, None),
    ],
    ids=str,
)
def test_known_meetings(
    shape: str,
    origin: tuple[float, ...],
    direction: tuple[float, ...],
    distance: float,
    normal: tuple[float, ...] | None,
) -> None:
    hits = cast(solid(shape), np.array([origin], dtype=float), np.array([direction], dtype=float))
    np.testing.assert_allclose(hits.distance, [distance])
    if normal is not None:
        np.testing.assert_allclose(hits.normal, [normal], atol=1e-12)


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_what_lies_behind_a_ray_or_beside_it_is_not_met(shape: str) -> None:
    origins = np.array([(0, 0, 3), (0, -3, 0), (1.5, 0, 4), (-1.5, 0, -4)], dtype=float)
    directions = np.array([(0, 0, 1), (0, -1, 0), (0, 0, -1), (0, 0, 1)], dtype=float)
    assert np.isinf(cast(solid(shape), origins, directions).distance).all()


def test_the_nearest_of_several_is_met() -> None:
    several = joined(solid("ball", (0, 5, 0)), solid("box", (0, 0, 0)), solid("cylinder", (4, 0, 0)))
    origins = np.array([(0, -9, 0), (0, 9, 0), (9, 0.5, 0), (0, 0, 9), (20, 20, 0)], dtype=float)
    directions = np.array([(0, 1, 0), (0, -1, 0), (-1, 0, 0), (0, 0, -1), (0, 0, 1)], dtype=float)
    hits = cast(several, origins, directions)
    assert hits.solid.tolist() == [1, 0, 2, 1, -1]
    np.testing.assert_allclose(hits.distance, [8, 3, 5 - 0.75**0.5 + 0, 8, np.inf])


def test_an_ellipsoid_has_its_closed_form() -> None:
    generator = np.random.default_rng(3)
    half, axes, centre = np.array([0.5, 1.0, 2.0]), turned(generator), np.array([1.0, 2.0, 3.0])
    origins, directions = some_rays(generator, 200, distance=9.0)
    hits = cast(solid("ball", centre, half, axes), origins + centre, directions)
    met = np.isfinite(hits.distance)
    own = (origins + np.where(met, hits.distance, 0)[:, None] * directions)[met] @ axes
    np.testing.assert_allclose(((own / half) ** 2).sum(1), 1)
    outwards = own / half**2
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    np.testing.assert_allclose(hits.normal[met] @ axes, outwards, atol=1e-9)


def test_many_rays_are_met_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    origins, directions = some_rays(np.random.default_rng(4), 50)
    one = joined(solid("cone"), solid("box", (1, 0, 0)))
    whole = cast(one, origins, directions)
    monkeypatch.setattr(geometry, "_CHUNK", 7)
    parts = cast(one, origins, directions)
    for name in ("distance", "normal", "solid"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


def test_nothing_is_met_where_nothing_is() -> None:
    none = Solids(
        shape=np.array([], dtype=str),
        centre=np.zeros((0, 3)),
        axes=np.zeros((0, 3, 3)),
        half=np.zeros((0, 3)),
    )
    hits = cast(none, np.zeros((2, 3)), np.eye(3)[:2])
    assert np.isinf(hits.distance).all()
    assert hits.solid.tolist() == [-1, -1]
