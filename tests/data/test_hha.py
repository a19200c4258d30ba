"""HHA of planes whose geometry is known, and of a drawn scene whose normals are."""

import math

import numpy as np
import pytest

from fuseloom.data.hha import NYUDV2_CAMERA, Intrinsics, gravity_of, hha, normals_of, points_of
from fuseloom.data.scenes.camera import camera_axes
from fuseloom.data.scenes.seg import SegScenes, seg_example
from fuseloom.errors import DataError, OptionError

SIZE = (48, 64)
CAMERA = Intrinsics.of_view(60, height=SIZE[0], width=SIZE[1])


def seen(*planes: tuple[tuple[float, float, float], float]) -> np.ndarray:
    """Depth of the nearest of planes ``n p = d`` in front of the camera; 0 where there is none."""
    rays = points_of(np.ones(SIZE), CAMERA)
    depths = []
    for normal, distance in planes:
        with np.errstate(divide="ignore"):
            depth = distance / (rays @ np.array(normal))
        depths.append(np.where((depth > 0) & (depth < 50), depth, np.inf))
    nearest = np.min(depths, axis=0)
    return np.where(np.isfinite(nearest), nearest, 0.0)


def pitched(degrees: float, vector: tuple[float, float, float]) -> tuple[float, float, float]:
    """A direction of the world as a camera sees it that looks down by so much."""
    turn, (x, y, z) = math.radians(degrees), vector
    return x, y * math.cos(turn) - z * math.sin(turn), y * math.sin(turn) + z * math.cos(turn)


FLOOR, WALL = ((0.0, 1.0, 0.0), 0.8), ((0.0, 0.0, 1.0), 4.0)


def test_a_floor_is_low_and_level_and_a_wall_upright() -> None:
    disparity, height, angle = hha(seen(FLOOR, WALL), CAMERA)
    depth = seen(FLOOR, WALL)
    assert disparity == pytest.approx(CAMERA.fx * 0.1 / depth, rel=1e-5)
    floor, wall = np.s_[-8:, 8:-8], np.s_[4:12, 8:-8]
    assert angle[floor] == pytest.approx(0, abs=0.1)
    assert height[floor] == pytest.approx(0, abs=5e-3)
    assert angle[wall] == pytest.approx(90, abs=0.1)
    rows = np.arange(4, 12)
    assert height[4:12, 20] == pytest.approx(0.8 - (rows - CAMERA.cy) / CAMERA.fy * 4, abs=5e-3)


@pytest.mark.parametrize("degrees", [-20, 12, 25])
def test_a_camera_that_looks_up_or_down_sees_the_same_angles(degrees: float) -> None:
    planes = [(pitched(degrees, normal), distance) for normal, distance in (FLOOR, WALL)]
    depth = seen(*planes)
    down = gravity_of(normals_of(points_of(np.where(depth > 0, depth, np.nan), CAMERA)))
    assert down == pytest.approx(pitched(degrees, (0.0, 1.0, 0.0)), abs=0.02)


def test_a_slope_has_its_angle_and_a_ceiling_faces_down() -> None:
    slope = ((0.0, math.cos(math.radians(30)), math.sin(math.radians(30))), 2.5)
    normals = normals_of(points_of(seen(slope), CAMERA))
    assert normals[40, 30] == pytest.approx([-each for each in slope[0]], abs=1e-6)
    rows = hha(seen(FLOOR, ((0.0, -1.0, 0.0), 0.8), WALL), CAMERA)
    assert rows[2, 2, 32] == pytest.approx(180, abs=0.1)
    assert rows[1, 2, 32] == pytest.approx(1.6, abs=5e-3)


def test_holes_stay_holes_and_do_not_move_what_is_around_them() -> None:
    depth = seen(FLOOR, WALL)
    depth[30:40, 20:30] = 0
    depth[5, 5] = np.nan
    found, whole = hha(depth, CAMERA), hha(seen(FLOOR, WALL), CAMERA)
    hole = ~(np.nan_to_num(depth) > 0)
    assert np.isnan(found[:, hole]).all()
    assert np.isfinite(found[:, ~hole]).all()
    assert found[2, 44, 25] == pytest.approx(whole[2, 44, 25], abs=0.1)
    known = np.ones(SIZE, dtype=bool)
    known[:10] = False
    assert np.isnan(hha(depth, CAMERA, known)[:, :10]).all()
    assert np.isnan(hha(np.zeros(SIZE), CAMERA)).all()
    alone = np.zeros(SIZE)
    alone[20, 20] = 2
    assert np.isfinite(hha(alone, CAMERA)[:2, 20, 20]).all()
    assert np.isnan(hha(alone, CAMERA)[2, 20, 20])


def test_normals_and_gravity_of_a_drawn_scene_are_those_that_it_was_drawn_with() -> None:
    drawn = seg_example(SegScenes(pixels=64), seed=3, index=0).rendering
    camera = drawn.scene.camera
    depth = np.where(np.isfinite(drawn.depth), drawn.depth, np.nan)
    view = Intrinsics.of_view(camera.field_of_view, height=64, width=64)
    found = normals_of(points_of(depth, view), reach=1)
    flat = (drawn.instance == 0) & np.isfinite(found).all(-1)
    alike = np.einsum("hwc,hwc->hw", found, drawn.normals)[flat]
    assert np.median(alike) == pytest.approx(1, abs=1e-6)
    down = camera_axes(camera).T @ np.array([0.0, 0.0, -1.0])
    assert gravity_of(found) @ down > math.cos(math.radians(3))


def test_a_camera_is_named_or_given_by_numbers() -> None:
    assert Intrinsics.named("nyudv2", height=480, width=640) == NYUDV2_CAMERA
    assert Intrinsics.named("5/6/7/8", height=1, width=1) == Intrinsics(fx=5, fy=6, cx=7, cy=8)
    for wrong in ("kinect", "1/2/3", 180, 0, "0/1/1/1"):
        with pytest.raises(OptionError):
            Intrinsics.named(wrong, height=2, width=2)
    with pytest.raises(DataError, match=r"\[H, W\], got shape \(3, 4, 1\)"):
        hha(np.ones((3, 4, 1)), CAMERA)
