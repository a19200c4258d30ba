"""The pinhole: which ray each pixel sees, and where in the picture a point is."""

import math

import numpy as np

from fuseloom.data.scenes.world import Camera, Doubles

__all__ = ["camera_axes", "pixel_rays", "project"]


def camera_axes(camera: Camera) -> Doubles:
    """Right, down and forward in the world, a column each ``[3, 3]``."""
    towards = [there - here for here, there in zip(camera.position, camera.target, strict=True)]
    x, y, z = (value / math.hypot(*towards) for value in towards)
    flat = math.hypot(x, y)
    right, down = (y / flat, -x / flat, 0.0), (z * x / flat, z * y / flat, -flat)
    return np.array([right, down, (x, y, z)]).T


def pixel_rays(camera: Camera, height: int, width: int) -> Doubles:
    """Unit vectors in the camera's axes through the middle of each pixel, row by row ``[H * W, 3]``."""
    across = (np.arange(width) + 0.5) / width - 0.5
    down = (np.arange(height) + 0.5 - height / 2) / width
    plane = np.empty((height, width, 3))
    plane[..., 0], plane[..., 1], plane[..., 2] = across, down[:, None], _focal_length(camera)
    rays: Doubles = (plane / np.linalg.norm(plane, axis=-1, keepdims=True)).reshape(-1, 3)
    return rays


def project(camera: Camera, points: Doubles) -> Doubles:
    """Where points of the world ``[N, 3]`` are in the picture, and how far ``[N, 3]``.

    The first two columns are rightwards and downwards from the middle, in widths of the picture: across from
    -0.5 to 0.5. The third is the depth along the camera's axis, in metres; one behind the camera is negative.

    Example:
        >>> camera = Camera(position=(0, -4, 1), target=(0, 0, 1), field_of_view=90)
        >>> project(camera, np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 2.0]])).round(6).tolist()
        [[0.125, 0.0, 4.0], [0.0, -0.125, 4.0]]
    """
    seen: Doubles = (points - np.array(camera.position)) @ camera_axes(camera)
    seen[:, :2] *= _focal_length(camera) / seen[:, 2:]
    return seen


def _focal_length(camera: Camera) -> float:
    """In widths of the picture."""
    return 0.5 / math.tan(math.radians(camera.field_of_view) / 2)
