"""Rays and projection are each other's inverse, and right is right."""

import numpy as np
import pytest

from fuseloom.data.scenes import Camera
from fuseloom.data.scenes.camera import camera_axes, pixel_rays, project

CAMERA = Camera(position=(1.0, -5.0, 2.0), target=(0.5, 0.5, 0.8), field_of_view=50)


def test_the_axes_are_orthonormal_and_right_handed_and_the_camera_is_upright() -> None:
    axes = camera_axes(CAMERA)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1)
    right, down, forward = axes.T
    assert right[2] == pytest.approx(0)
    assert down[2] < 0
    towards = np.subtract(CAMERA.target, CAMERA.position)
    np.testing.assert_allclose(forward, towards / np.linalg.norm(towards))


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 3), (1, 1)])
def test_points_along_a_pixels_ray_are_seen_in_that_pixel(height: int, width: int) -> None:
    rays = pixel_rays(CAMERA, height, width)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=1), 1)
    points = np.array(CAMERA.position) + 3.0 * rays @ camera_axes(CAMERA).T
    across, down, depth = project(CAMERA, points).T
    rows, columns = np.divmod(np.arange(height * width), width)
    np.testing.assert_allclose((across + 0.5) * width, columns + 0.5)
    np.testing.assert_allclose(down * width + height / 2, rows + 0.5)
    np.testing.assert_allclose(depth, 3.0 * rays[:, 2])


def test_the_field_of_view_is_across_the_width() -> None:
    wide = pixel_rays(CAMERA, 1, 4000)
    angle = np.degrees(np.arccos(wide[0] @ wide[-1]))
    assert angle == pytest.approx(50, abs=0.05)


def test_what_it_looks_at_is_in_the_middle() -> None:
    seen = project(CAMERA, np.array([CAMERA.target]))
    distance = np.linalg.norm(np.subtract(CAMERA.target, CAMERA.position))
    np.testing.assert_allclose(seen, [[0, 0, distance]], atol=1e-12)
