"""What sensors at the camera see of a scene, pixel by pixel on the same grid."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.scenes.bodies import Surfaces, check_thing, solids_of, surfaces_at, things_of
from fuseloom.data.scenes.camera import camera_axes, pixel_rays
from fuseloom.data.scenes.geometry import Hits, Solids, cast
from fuseloom.data.scenes.kinds import KINDS
from fuseloom.data.scenes.light import brightness, encoded, sky_colour
from fuseloom.data.scenes.world import Doubles, Scene, moved
from fuseloom.errors import OptionError

__all__ = [
    "EVENT_SECONDS",
    "EVENT_STEP",
    "FARTHEST",
    "GROUND",
    "LABELS",
    "SKY",
    "Maps",
    "Rendering",
    "edges_between",
    "render",
    "scanned_rows",
]

Floats = NDArray[np.float32]
Maps = Mapping[str, NDArray[Any]]
"""Sensor -> what it shows on one grid ``[H, W]`` or ``[H, W, C]``."""

SKY, GROUND = 0, 1
LABELS = ("sky", "ground", *KINDS)
"""What the numbers in `Rendering.label` stand for."""
FARTHEST = 60.0
"""Metres along a ray: beyond is haze, as the sky."""
EVENT_SECONDS, EVENT_STEP = 0.05, 0.15
"""Between the two instants that events compare, and the change of log brightness that is one event."""
_GREY = 0.5
"""Reflectance of all in a picture of shades."""
_DARKEST = 0.02
"""Brightness that the event sensor cannot tell from none."""
_SKY_COOLER = 25.0
"""Kelvin by which a clear sky looks cooler than the air."""
_EDGE_COSINE = 0.85
_SCAN_LINES = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Rendering:
    """Pictures of one scene on one grid ``[H, W]``; each is computed when it is first asked for."""

    scene: Scene
    height: int
    width: int

    @cached_property
    def rgb(self) -> NDArray[np.uint8]:
        """What a photograph shows ``[H, W, 3]``."""
        return encoded(self._brightness)

    @cached_property
    def shade(self) -> NDArray[np.uint8]:
        """What a photograph would show in grey if all were dull and of one colour ``[H, W]``."""
        one = np.full_like(self._surfaces.colour, _GREY)
        plain = replace(self._surfaces, colour=one, gloss=np.zeros_like(self._surfaces.gloss))
        return encoded(self._lit(plain).mean(-1))

    @cached_property
    def texture(self) -> Floats:
        """How much the photograph's brightness changes from pixel to pixel, from 0 to 1 ``[H, W]``."""
        grey = np.pad(self.rgb.mean(-1) / 255, 1, mode="edge")
        down, across = (grey[2:, 1:-1] - grey[:-2, 1:-1]) / 2, (grey[1:-1, 2:] - grey[1:-1, :-2]) / 2
        return self._picture(np.hypot(down, across).ravel())

    @cached_property
    def depth(self) -> Floats:
        """Metres along the camera's axis ``[H, W]``; infinite in the sky."""
        return self._picture(self._hits.distance * self._rays[:, 2])

    @cached_property
    def normals(self) -> Floats:
        """Unit vectors out of the surfaces, in the camera's axes ``[H, W, 3]``; zero in the sky."""
        return self._picture(self._hits.normal @ camera_axes(self.scene.camera))

    @cached_property
    def instance(self) -> NDArray[np.int64]:
        """Number of the thing, from 1 ``[H, W]``; 0 is ground and sky."""
        owner = np.append(things_of(self.scene), -1)[self._hits.solid]
        return owner.reshape(self.height, self.width) + 1

    @cached_property
    def shown(self) -> list[int]:
        """How many pixels each thing of the scene shows of itself."""
        counts = np.bincount(self.instance.ravel(), minlength=len(self.scene.things) + 1)
        return [int(count) for count in counts[1:]]

    @cached_property
    def label(self) -> NDArray[np.int64]:
        """What is there, a place in ``LABELS`` ``[H, W]``."""
        kinds = np.array([LABELS.index(thing.kind) for thing in self.scene.things], dtype=np.int64)
        ground = np.where(np.isfinite(self.depth), GROUND, SKY)
        return np.where(self.instance > 0, np.append(kinds, SKY)[self.instance - 1], ground)

    @cached_property
    def edges(self) -> NDArray[np.bool_]:
        """Where the thing, or the surface's direction, changes to the next pixel ``[H, W]``."""
        return edges_between(self.label, self.instance, self.normals)

    @cached_property
    def thermal(self) -> Floats:
        """Kelvin that a long-wave camera reads ``[H, W]``.

        A surface sends out its emissivity's share of a black body's radiation, which goes with the fourth
        power of its temperature, and mirrors the air's for the rest. Light and colour play no part.
        """
        air, surfaces = self.scene.air_temperature, self._surfaces
        sent = surfaces.emissivity * surfaces.temperature**4 + (1 - surfaces.emissivity) * air**4
        sky = np.isinf(self._hits.distance)
        return self._picture(np.where(sky, air - _SKY_COOLER, sent**0.25))

    @cached_property
    def event(self) -> NDArray[np.int8]:
        """How many steps of log brightness each pixel gains, or loses, until the next instant ``[H, W]``."""
        later = Rendering(scene=moved(self.scene, EVENT_SECONDS), height=self.height, width=self.width)
        before, after = (np.log(_DARKEST + one._brightness.mean(-1)) for one in (self, later))
        steps: NDArray[np.int8] = np.clip(np.trunc((after - before) / EVENT_STEP), -127, 127).astype(np.int8)
        return steps

    @cached_property
    def lidar(self) -> Floats:
        """Points in the camera's axes, in metres, and how much of the beam each sends back ``[P, 4]``.

        Sixteen scan lines, or as many as there are rows; of each every pixel that is not in the sky.
        """
        rows = scanned_rows(self.height)
        rays = (rows[:, None] * self.width + np.arange(self.width)).ravel()
        rays = rays[np.isfinite(self._hits.distance[rays])]
        points = self._hits.distance[rays, None] * self._rays[rays]
        facing = np.abs(np.einsum("rc,rc->r", self._hits.normal[rays], self._directions[rays]))
        back = facing * self._surfaces.colour[rays].mean(-1)
        return np.column_stack([points, back]).astype(np.float32)

    @cached_property
    def _rays(self) -> Doubles:
        return pixel_rays(self.scene.camera, self.height, self.width)

    @cached_property
    def _directions(self) -> Doubles:
        return self._rays @ camera_axes(self.scene.camera).T

    @cached_property
    def _solids(self) -> Solids:
        return solids_of(self.scene)

    @cached_property
    def _hits(self) -> Hits:
        origins = np.broadcast_to(
            np.array(self.scene.camera.position, dtype=np.float64), self._directions.shape
        )
        return _on_ground(cast(self._solids, origins, self._directions), origins, self._directions)

    @cached_property
    def _points(self) -> Doubles:
        """What is met, in the world ``[H * W, 3]``; the camera where nothing is."""
        reach = np.where(np.isfinite(self._hits.distance), self._hits.distance, 0)
        return np.array(self.scene.camera.position) + reach[:, None] * self._directions

    @cached_property
    def _surfaces(self) -> Surfaces:
        return surfaces_at(self.scene, self._hits.solid, self._points)

    @cached_property
    def _brightness(self) -> Doubles:
        """Linear ``[H, W, 3]``."""
        return self._lit(self._surfaces)

    def _lit(self, surfaces: Surfaces) -> Doubles:
        """How bright all is if it has such surfaces ``[H, W, 3]``."""
        hits, light = self._hits, self.scene.light
        lit = brightness(self._solids, light, hits, surfaces, self._points, self._directions)
        sky = np.isinf(hits.distance)[:, None]
        linear = np.where(sky, sky_colour(light, self._directions), lit)
        return linear.reshape(self.height, self.width, 3)

    def _picture(self, values: Doubles) -> Floats:
        return values.reshape(self.height, self.width, *values.shape[1:]).astype(np.float32)


def render(scene: Scene, height: int = 64, width: int = 64) -> Rendering:
    """Look at a scene.

    Args:
        scene: What is there.
        height: Rows of pixels.
        width: Columns; the camera's field of view is across them.

    Raises:
        OptionError: no pixels, a camera under the ground or one that looks straight up or down, or a thing
            of an unknown kind, colour, size, material or pattern.

    Example:
        >>> from fuseloom.data.scenes import draw_scene
        >>> seen = render(draw_scene(seed=0, index=3))
        >>> seen.rgb.shape, seen.depth.dtype, sorted(set(seen.instance.ravel().tolist()))[:2]
        ((64, 64, 3), dtype('float32'), [0, 1])
    """
    if min(height, width) < 1:
        raise OptionError(f"height and width must be at least 1, got {height} and {width}.")
    position, target = scene.camera.position, scene.camera.target
    if position[2] <= 0:
        raise OptionError(f"The camera must be over the ground, got a height of {position[2]} m.")
    if position[:2] == target[:2]:
        raise OptionError(f"The camera must not look straight up or down, got {position} to {target}.")
    for thing in scene.things:
        check_thing(thing)
    return Rendering(scene=scene, height=height, width=width)


def edges_between(
    label: NDArray[np.int64], instance: NDArray[np.int64], normals: Floats
) -> NDArray[np.bool_]:
    """Where a pixel differs from the next, which is the one to the right or the one below ``[H, W]``.

    Args:
        label: What is there ``[H, W]``.
        instance: Which thing it is ``[H, W]``.
        normals: Unit vectors out of the surfaces, which differ by 32 degrees, or zero ``[H, W, 3]``.
    """
    found = np.zeros(label.shape, dtype=np.bool_)
    for axis in (0, 1):
        changed = _changes(label, axis) | _changes(instance, axis) | _bends(normals, axis)
        found[: changed.shape[0], : changed.shape[1]] |= changed
    return found


def scanned_rows(height: int) -> NDArray[np.intp]:
    """Numbers of the rows of pixels that the lidar scans."""
    return np.unique(np.linspace(0, height - 1, _SCAN_LINES).round().astype(np.intp))


def _on_ground(hits: Hits, origins: Doubles, directions: Doubles) -> Hits:
    """The same, with the ground where no body is before it."""
    falling = directions[:, 2] < 0
    distance = np.where(falling, -origins[:, 2] / np.where(falling, directions[:, 2], -1), np.inf)
    ground = (distance < hits.distance) & (distance < FARTHEST)
    return replace(
        hits,
        distance=np.where(ground, distance, hits.distance),
        normal=np.where(ground[:, None], (0.0, 0.0, 1.0), hits.normal),
        solid=np.where(ground, -1, hits.solid),
    )


def _changes(values: NDArray[np.int64], axis: int) -> NDArray[np.bool_]:
    """Where a value differs from the next along an axis; one fewer along it."""
    changed: NDArray[np.bool_] = np.diff(values, axis=axis) != 0
    return changed


def _bends(normals: Floats, axis: int) -> NDArray[np.bool_]:
    size = normals.shape[axis]
    one, other = (normals.take(range(start, size - 1 + start), axis) for start in (0, 1))
    # Of the sky, which has no direction, both sides are zero.
    bends: NDArray[np.bool_] = (one * other).sum(-1) < _EDGE_COSINE * (other**2).sum(-1).round()
    return bends
