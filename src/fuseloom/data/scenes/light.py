"""How bright what rays have met is: a sun with shadows, the sky from all sides, and gloss."""

import math

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.scenes.bodies import Surfaces
from fuseloom.data.scenes.geometry import Hits, Solids, cast
from fuseloom.data.scenes.world import Doubles, Light

__all__ = ["brightness", "decoded", "encoded", "sky_colour", "sun_direction"]

_GAMMA = 2.2
_SHININESS = 24
_OFF_SURFACE = 1e-4
_HORIZON, _ZENITH = (0.72, 0.78, 0.85), (0.30, 0.47, 0.80)


def sun_direction(light: Light) -> Doubles:
    """Unit vector to where the sun stands ``[3]``.

    Example:
        >>> sun_direction(Light(azimuth=90, elevation=0)).round(6).tolist()
        [0.0, 1.0, 0.0]
    """
    azimuth, elevation = math.radians(light.azimuth), math.radians(light.elevation)
    flat = math.cos(elevation)
    return np.array([flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation)])


def brightness(
    solids: Solids, light: Light, hits: Hits, surfaces: Surfaces, points: Doubles, directions: Doubles
) -> Doubles:
    """Linear red, green and blue that come from points back along the rays that met them ``[R, 3]``."""
    sun = sun_direction(light)
    facing = np.maximum(hits.normal @ sun, 0)
    facing[_in_shadow(solids, sun, hits, points, facing > 0)] = 0
    half = sun - directions
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    glint = np.maximum(np.einsum("rc,rc->r", hits.normal, half), 0) ** _SHININESS * (facing > 0)
    # More of the sky is over a surface that faces up.
    diffuse = light.sun * facing + light.sky * (0.75 + 0.25 * hits.normal[:, 2])
    linear: Doubles = surfaces.colour * diffuse[:, None] + (light.sun * surfaces.gloss * glint)[:, None]
    return linear


def sky_colour(light: Light, directions: Doubles) -> Doubles:
    """Linear red, green and blue of the sky in directions ``[R, 3]``."""
    height = np.clip(directions[:, 2:], 0, 1) ** 0.5
    colour: Doubles = (light.sun + light.sky) * ((1 - height) * _HORIZON + height * _ZENITH)
    return colour


def encoded(linear: Doubles) -> NDArray[np.uint8]:
    """Linear light from 0 to 1 as pixels for a screen; what is brighter is white."""
    return np.round(255 * np.clip(linear, 0, 1) ** (1 / _GAMMA)).astype(np.uint8)


def decoded(pixels: NDArray[np.uint8]) -> Doubles:
    """Pixels for a screen as linear light from 0 to 1.

    Example:
        >>> encoded(decoded(np.array([0, 40, 255], dtype=np.uint8))).tolist()
        [0, 40, 255]
    """
    linear: Doubles = (pixels / 255) ** _GAMMA
    return linear


def _in_shadow(
    solids: Solids, sun: Doubles, hits: Hits, points: Doubles, facing: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Numbers of the points between which and the sun a solid stands."""
    rays = np.flatnonzero(facing)
    starts = points[rays] + _OFF_SURFACE * hits.normal[rays]
    blocked = cast(solids, starts, np.broadcast_to(sun, starts.shape))
    return rays[np.isfinite(blocked.distance)]
