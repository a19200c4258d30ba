"""Where rays meet solids: each is a unit shape, stretched, turned and moved, and all shapes are convex.

A ray enters a convex solid once, and leaves it once. In the solid's own axes, where it is the unit shape,
distances along the ray are unchanged, as its direction is stretched too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.scenes.world import Doubles

__all__ = ["SHAPES", "Hits", "Solids", "cast"]

Numbers = NDArray[np.intp]
Entry = tuple[Doubles, Doubles]
"""Distances ``[R]``, infinite where a ray misses, and directions outwards of any length ``[R, 3]``."""

_CHUNK = 2**14
"""Rays at once."""
_FLAT = 1e-12
"""Below this a ray is parallel to a plane, and a quadratic is linear."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Solids:
    """Unit shapes, each within -1 to 1 along its axes, placed in the world."""

    shape: NDArray[np.str_]
    """One of ``SHAPES`` each ``[S]``."""
    centre: Doubles
    """``[S, 3]``."""
    axes: Doubles
    """Their own axes in the world, a column each ``[S, 3, 3]``."""
    half: Doubles
    """Half their extents along their own axes ``[S, 3]``."""

    def __len__(self) -> int:
        return len(self.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Hits:
    """What each ray meets first."""

    distance: Doubles
    """Along the ray ``[R]``; infinite where it meets nothing."""
    normal: Doubles
    """Unit, outwards ``[R, 3]``; zero where it meets nothing."""
    solid: Numbers
    """Number of the solid ``[R]``; -1 where it meets none."""


def cast(solids: Solids, origins: Doubles, directions: Doubles) -> Hits:
    """Follow rays to what they meet first.

    Args:
        solids: What is there.
        origins: Where the rays start, outside of all solids ``[R, 3]``.
        directions: Unit vectors ``[R, 3]``.
    """
    hits = Hits(
        distance=np.full(len(directions), np.inf),
        normal=np.zeros(directions.shape),
        solid=np.full(len(directions), -1),
    )
    for start in range(0, len(directions), _CHUNK):
        some = slice(start, start + _CHUNK)
        _cast_some(solids, origins[some], directions[some], hits, start)
    return hits


def _cast_some(solids: Solids, origins: Doubles, directions: Doubles, hits: Hits, offset: int) -> None:
    """The same for rays that stand in the hits from some number on."""
    solid, ray = _candidates(solids, origins, directions)
    to_unit = solids.axes[solid] / solids.half[solid, None]  # [k, 3, 3]
    start = np.einsum("kw,kwu->ku", origins[ray] - solids.centre[solid], to_unit)
    step = np.einsum("kw,kwu->ku", directions[ray], to_unit)
    distance, normal = np.full(len(ray), np.inf), np.zeros(start.shape)
    for shape, meet in SHAPES.items():
        own = np.flatnonzero((solids.shape == shape)[solid])
        distance[own], normal[own] = meet(start[own], step[own])
    nearest = hits.distance[offset : offset + len(directions)]
    np.minimum.at(nearest, ray, distance)
    first = np.flatnonzero(np.isfinite(distance) & (distance == nearest[ray]))
    outwards = np.einsum("ku,kwu->kw", normal[first], to_unit[first])
    hits.normal[offset + ray[first]] = outwards / np.linalg.norm(outwards, axis=1, keepdims=True)
    hits.solid[offset + ray[first]] = solid[first]


def _candidates(solids: Solids, origins: Doubles, directions: Doubles) -> tuple[Numbers, Numbers]:
    """Numbers of solids and rays, where the ray comes into the ball around the solid: ``[k]`` and ``[k]``."""
    # |c - o|^2 - ((c - o) d)^2 < r^2, of every solid and ray by matrix products: [S, R]
    along = solids.centre @ directions.T - _dot(origins, directions)
    gap = (2 * solids.centre) @ origins.T - _dot(origins, origins)
    gap += along**2
    radius = np.linalg.norm(solids.half, axis=1)
    far = _dot(solids.centre, solids.centre) - radius**2
    near = np.flatnonzero((gap > far[:, None]) & (along > -radius[:, None]))
    solid, ray = np.divmod(near, len(directions))
    return solid, ray


def _ball(start: Doubles, step: Doubles) -> Entry:
    a, b, c = _dot(step, step), _dot(start, step), _dot(start, start) - 1
    under_root = b**2 - a * c
    enter = (-b - np.sqrt(np.maximum(under_root, 0))) / a
    return _where(under_root >= 0, enter), start + enter[:, None] * step


def _polytope(start: Doubles, step: Doubles, *, normals: Doubles, offsets: Doubles) -> Entry:
    """All points with ``normals @ point <= offsets``."""
    room, towards = offsets - start @ normals.T, step @ normals.T  # [R, planes]
    crossing = room / _nonzero(towards)
    facing = towards < -_FLAT
    inwards = np.where(facing, crossing, -np.inf)
    enter, leave = inwards.max(1), np.where(facing, np.inf, crossing).min(1)
    return _where(enter < leave, enter), normals[inwards.argmax(1)]


def _frustum(start: Doubles, step: Doubles, *, top: float) -> Entry:
    """Round about the third axis, of radius 1 at the bottom and ``top`` at the top."""
    slope, middle = (top - 1) / 2, (top + 1) / 2
    enter, leave = _round_side(start, step, slope=slope, middle=middle)
    rise = _nonzero(step[:, 2])
    first_cap, second_cap = _in_order((-1 - start[:, 2]) / rise, (1 - start[:, 2]) / rise)
    distance = np.maximum(enter, first_cap)
    point = start + np.where(np.isfinite(distance), distance, 0)[:, None] * step
    around, height = point[:, :2], point[:, 2]
    side = np.column_stack([around, -slope * (middle + slope * height)])
    cap = np.column_stack([np.zeros_like(around), -np.sign(rise)])
    normal = np.where((first_cap > enter)[:, None], cap, side)
    return _where(distance < np.minimum(leave, second_cap), distance), normal


def _round_side(start: Doubles, step: Doubles, *, slope: float, middle: float) -> tuple[Doubles, Doubles]:
    """Between which distances a ray is in the endless cone of radius ``middle + slope * height``."""
    radius, growth = middle + slope * start[:, 2], slope * step[:, 2]
    flat_start, flat_step = start[:, :2], step[:, :2]
    a = _nonzero(_dot(flat_step, flat_step) - growth**2)
    b = _dot(flat_start, flat_step) - radius * growth
    under_root = b**2 - a * (_dot(flat_start, flat_start) - radius**2)
    root = np.sqrt(np.maximum(under_root, 0))
    near, far = _in_order((-b - root) / a, (-b + root) / a)
    # A ray that is steeper than the side is under the tip for ever, before or after one crossing.
    steep, falling = a < 0, step[:, 2] < 0
    enter = np.where(steep, np.where(falling, far, -np.inf), near)
    leave = np.where(steep, np.where(falling, np.inf, near), far)
    return np.where(under_root >= 0, enter, np.inf), leave


def _where(entered: NDArray[np.bool_], distance: Doubles) -> Doubles:
    """The distance where the ray enters in front of its start."""
    return np.where(entered & (distance > 0), distance, np.inf)


def _in_order(one: Doubles, other: Doubles) -> tuple[Doubles, Doubles]:
    return np.minimum(one, other), np.maximum(one, other)


def _nonzero(values: Doubles) -> Doubles:
    return np.where(np.abs(values) < _FLAT, _FLAT, values)


def _dot(one: Doubles, other: Doubles) -> Doubles:
    product: Doubles = np.einsum("...c,...c->...", one, other)
    return product


def _planes(*faces: tuple[float, float, float]) -> Callable[[Doubles, Doubles], Entry]:
    return partial(_polytope, normals=np.array(faces), offsets=np.ones(len(faces)))


_SIDES = ((1.0, 0, 0), (-1.0, 0, 0), (0, 1.0, 0), (0, -1.0, 0))
_SLOPES = ((2.0, 0, 1.0), (-2.0, 0, 1.0), (0, 2.0, 1.0), (0, -2.0, 1.0))
_FLOOR = (0.0, 0.0, -1.0)

SHAPES: Mapping[str, Callable[[Doubles, Doubles], Entry]] = {
    "ball": _ball,
    "box": _planes(*_SIDES, (0.0, 0.0, 1.0), _FLOOR),
    "pyramid": _planes(*_SLOPES, _FLOOR),
    "roof": _planes(*_SIDES[:2], *_SLOPES[2:], _FLOOR),
    "cylinder": partial(_frustum, top=1.0),
    "cone": partial(_frustum, top=0.0),
    "tapered": partial(_frustum, top=0.6),
}
"""Shape -> where rays ``[R, 3]`` enter it. A roof's ridge runs along its first axis."""
