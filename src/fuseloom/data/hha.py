"""HHA of a depth: what a network for pictures reads more easily than distances alone."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.errors import DataError, OptionError

__all__ = ["NYUDV2_CAMERA", "Intrinsics", "gravity_of", "hha", "normals_of", "points_of"]

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]

_DOWN = (0.0, 1.0, 0.0)
_STEPS = ((45.0, 5), (15.0, 5))
"""Degrees within which a normal is of a floor or of a wall, and how often gravity is estimated with them."""
_REACH = 3
"""Pixels on either side whose points make up a plane."""
_NEAREST = 0.01
"""Metres; the disparity of what is nearer is that of this."""
_BASELINE = 0.1
"""Metres between the two cameras of which the disparity is, with the focal length that the depth has."""
_FLOOR = 1.0
"""Percentile of the heights that is taken for the ground, so that one wrong distance does not move it."""


@dataclass(frozen=True, kw_only=True)
class Intrinsics:
    """What a camera makes of points: ``x = fx X / Z + cx``, and the same for rows, in pixels.

    The middle of the first pixel is 0.

    Raises:
        OptionError: a focal length that is not above 0.
    """

    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        if not min(self.fx, self.fy) > 0:
            raise OptionError(f"fx and fy must be above 0, got {self.fx} and {self.fy}.")

    @classmethod
    def of_view(cls, degrees: float, *, height: int, width: int) -> Self:
        """Of a camera that sees so many degrees from left to right, whose axis goes through the middle.

        Raises:
            OptionError: other than between 0 and 180 degrees.

        Example:
            >>> Intrinsics.of_view(90, height=3, width=5)
            Intrinsics(fx=2.5, fy=2.5, cx=2.0, cy=1.0)
        """
        if not 0 < degrees < 180:
            raise OptionError(f"degrees must be between 0 and 180, got {degrees}.")
        focal = round(width / 2 / float(np.tan(np.radians(degrees) / 2)), 9)
        return cls(fx=focal, fy=focal, cx=(width - 1) / 2, cy=(height - 1) / 2)

    @classmethod
    def named(cls, camera: str | float, *, height: int, width: int) -> Self:
        """Of ``nyudv2``; of degrees, see `of_view`; or of ``FX/FY/CX/CY``.

        Raises:
            OptionError: text of another form.

        Example:
            >>> Intrinsics.named("500/500/319.5/239.5", height=480, width=640).cy
            239.5
        """
        if isinstance(camera, int | float):
            return cls.of_view(camera, height=height, width=width)
        camera = _NAMED.get(camera, camera)
        try:
            fx, fy, cx, cy = map(float, camera.split("/"))
        except ValueError:
            raise OptionError(
                f"A camera must be 'nyudv2', degrees from left to right, or FX/FY/CX/CY, got {camera!r}."
            ) from None
        return cls(fx=fx, fy=fy, cx=cx, cy=cy)


_NAMED = {"nyudv2": "518.8579/519.4696/325.5824/253.7362"}
NYUDV2_CAMERA = Intrinsics.named("nyudv2", height=480, width=640)
"""That of the photographs of NYU Depth V2, of 480 x 640 pixels, as its toolbox gives it."""


def hha(depth: NDArray[np.floating], camera: Intrinsics, known: Bools | None = None) -> NDArray[np.float32]:
    """Horizontal disparity, height above ground, and angle of the normal with gravity ``[3, H, W]``.

    Disparity is in pixels, of two cameras a tenth of a metre apart; height in metres above the lowest points
    (the first percentile); the angle in degrees between the normal, which points to the camera, and up: 0 of
    a floor, 90 of a wall, 180 of a ceiling. Holes are NaN, and so is the angle where too few pixels around
    are known.

    Gravity is estimated from the normals, starting from the camera's down: it is the direction that is most
    nearly along the normals of floors and across those of walls, which are those within 45, then 15 degrees
    of being so. A scene without any keeps the camera's down.

    After Gupta et al., 2014, "Learning Rich Features from RGB-D Images for Object Detection and
    Segmentation", arXiv:1407.5736.

    Args:
        depth: Metres along the camera's axis ``[H, W]``; what is not finite or not above 0 is a hole.
        camera: That of the depth.
        known: False where nothing is known, besides.

    Raises:
        DataError: a depth that is no ``[H, W]``.

    Example:
        >>> wall = np.full((20, 20), 2.0)
        >>> found = hha(wall, Intrinsics.of_view(90, height=20, width=20))
        >>> [round(float(one), 2) for one in found[:, 10, 10]]
        [0.5, 1.8, 90.0]
    """
    if depth.ndim != 2:
        raise DataError(f"depth must be [H, W], got shape {depth.shape}.")
    there: Bools = np.isfinite(depth) & (depth > 0)
    there = there if known is None else there & known
    points = points_of(np.where(there, depth, np.nan), camera)
    if not there.any():
        return np.full((3, *depth.shape), np.nan, dtype=np.float32)
    normals = normals_of(points)
    down = gravity_of(normals)
    height = -(points @ down)
    height -= np.percentile(height[there], _FLOOR)
    angle = np.degrees(np.arccos(np.clip(-(normals @ down), -1, 1)))
    disparity = camera.fx * _BASELINE / np.maximum(points[..., 2], _NEAREST)
    return np.stack([disparity, height, angle]).astype(np.float32)


def points_of(depth: Doubles, camera: Intrinsics) -> Doubles:
    """Points ``[H, W, 3]`` of a depth ``[H, W]``: rightwards, downwards and forwards, in its unit."""
    rows, columns = np.indices(depth.shape)
    across, below = (columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy
    return np.stack([across * depth, below * depth, depth], -1)


def normals_of(points: Doubles, *, reach: int = _REACH) -> Doubles:
    """Unit normals ``[H, W, 3]`` towards the camera, of the plane that is nearest to the points around.

    The plane is ``n p = 1`` by least squares over a window, each point weighted by the inverse of its
    distance, which makes the errors those of the disparity. No plane goes through the camera itself. NaN
    where the point is not known, or fewer than three around it, or these lie on a line.

    Args:
        points: ``[H, W, 3]``, NaN where nothing is known.
        reach: Pixels of the window on either side.
    """
    there: Bools = np.logical_and.reduce(np.isfinite(points), axis=-1)
    depth = np.where(there, points[..., 2], 1.0)
    scaled = np.where(there[..., None], points / depth[..., None], 0.0)
    products = scaled[..., :, None] * scaled[..., None, :]
    sides = scaled * np.where(there, 1 / depth, 0.0)[..., None]
    matrix, side, count = (_summed(each, reach) for each in (products, sides, there.astype(np.float64)))
    # Relative to the size: rays of a window span a small cone, whatever the distance.
    scale = np.maximum(count, 1)
    solvable: Bools = there & (count >= 3) & (np.linalg.det(matrix / scale[..., None, None]) > 1e-15)
    normals = np.full(points.shape, np.nan)
    if solvable.any():
        found = np.linalg.solve(matrix[solvable], side[solvable][..., None])[..., 0]
        normals[solvable] = -found / np.linalg.norm(found, axis=-1, keepdims=True)
    return normals


def _summed(values: Doubles, reach: int) -> Doubles:
    """Sums over windows around each pixel, of what lies in the picture."""
    total: Doubles = values
    for axis in (0, 1):
        size = total.shape[axis]
        sums: Doubles = np.concatenate([np.zeros_like(total.take([0], axis)), np.cumsum(total, axis)], axis)
        places = np.arange(size)
        ends, starts = np.minimum(places + reach + 1, size), np.maximum(places - reach, 0)
        total = np.subtract(sums.take(ends, axis), sums.take(starts, axis))
    return total


def gravity_of(normals: Doubles) -> Doubles:
    """The direction down ``[3]`` in the camera's axes, from the normals of floors and walls.

    Args:
        normals: ``[..., 3]``, NaN where there is none.
    """
    known = normals[np.isfinite(normals).all(-1)]
    down = np.array(_DOWN)
    for degrees, times in _STEPS:
        for _ in range(times):
            down = _refined(down, known, degrees)
    return down


def _refined(down: Doubles, normals: Doubles, degrees: float) -> Doubles:
    """The unit vector with the least squares across floors and along walls; as it was without either."""
    along = np.abs(normals @ down)
    floors = normals[along > np.cos(np.radians(degrees))]
    walls = normals[along < np.sin(np.radians(degrees))]
    if not len(floors) and not len(walls):
        return down
    values, vectors = np.linalg.eigh(walls.T @ walls - floors.T @ floors)
    # Of walls that all face one way any direction along them is as good: the nearest to what it was.
    least = vectors[:, values - values[0] <= 1e-9 * max(len(normals), 1)]
    found: Doubles = least @ (least.T @ down)
    length = float(np.linalg.norm(found))
    return down if length < 1e-6 else found / length
