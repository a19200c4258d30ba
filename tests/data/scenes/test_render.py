"""What sensors see, in closed form and against one another."""

from dataclasses import replace

import numpy as np
import pytest

from fuseloom.data.scenes import LABELS, MATERIALS, Camera, Light, Rendering, Scene, Thing, draw_scene, render
from fuseloom.data.scenes.camera import project
from fuseloom.data.scenes.render import EVENT_SECONDS, EVENT_STEP, GROUND, SKY
from fuseloom.data.scenes.world import moved
from fuseloom.errors import OptionError

BALL = Thing(kind="ball", colour="red", material="wooden", temperature=310)
CAMERA = Camera(position=(-5.0, 0.0, 0.5), target=(0.0, 0.0, 0.5), field_of_view=60)
LIGHT = Light(azimuth=120, elevation=50)
IMAGES = ("rgb", "depth", "normals", "instance", "label", "thermal", "event")
DRAWN = [(0, "train"), (1, "train"), (2, "test"), (3, "valid")]


def scene(*things: Thing, camera: Camera = CAMERA, light: Light = LIGHT) -> Scene:
    return Scene(things=things, camera=camera, light=light, air_temperature=285)


def drawn(index: int, split: str) -> Rendering:
    return render(draw_scene(7, index, split), 40, 48)


def test_a_ball_is_as_deep_as_its_front_and_faces_the_camera() -> None:
    seen = render(scene(BALL), 65, 65)
    assert seen.depth[32, 32] == pytest.approx(4.5)
    np.testing.assert_allclose(seen.normals[32, 32], [0, 0, -1], atol=1e-6)
    # Everywhere on it, the point that is seen lies on the sphere and the normal is its radius.
    rows, columns = np.nonzero(seen.instance == 1)
    focal = 0.5 / np.tan(np.pi / 6)
    rays = np.column_stack([(columns - 32) / 65, (rows - 32) / 65, np.full(len(rows), focal)]) / focal
    points = seen.depth[rows, columns][:, None] * rays
    np.testing.assert_allclose((points - (0, 0, 5)) / 0.5, seen.normals[rows, columns], atol=2e-5)


def test_the_ground_is_as_deep_as_the_camera_is_high() -> None:
    seen = render(scene(), 65, 65)
    focal = 0.5 / np.tan(np.pi / 6)
    below = np.arange(34, 65)
    np.testing.assert_allclose(seen.depth[below, 32], 0.5 / ((below - 32) / 65 / focal), rtol=1e-5)
    np.testing.assert_allclose(seen.normals[below, 7], np.tile((0, -1, 0), (31, 1)), atol=1e-6)
    assert np.isinf(seen.depth[:32]).all()
    assert (seen.label[:32] == SKY).all()
    assert (seen.label[40:] == GROUND).all()
    assert not seen.normals[:32].any()


def test_the_nearer_of_two_hides_the_other_from_either_side() -> None:
    two = (BALL, replace(BALL, place=(2.0, 0.0)))
    front = render(scene(*two), 33, 33)
    back = render(
        scene(*two, camera=replace(CAMERA, position=(7.0, 0.0, 0.5), target=(2.0, 0.0, 0.5))), 33, 33
    )
    assert (front.instance[16, 16], back.instance[16, 16]) == (1, 2)
    assert front.depth[16, 16] == back.depth[16, 16] == pytest.approx(4.5)
    assert 2 not in front.instance


@pytest.mark.parametrize(("index", "split"), DRAWN)
def test_every_pixel_shows_the_nearest_of_what_each_thing_alone_would_show(index: int, split: str) -> None:
    seen = drawn(index, split)
    whole = seen.scene
    alone = [render(replace(whole, things=part), 40, 48) for part in [(), *((t,) for t in whole.things)]]
    depths = np.stack([np.where(one.instance > 0, one.depth, np.inf) for one in alone[1:]])
    depths = np.concatenate([alone[0].depth[None], depths])
    np.testing.assert_array_equal(seen.depth, depths.min(0))
    np.testing.assert_array_equal(seen.instance, np.where(np.isinf(seen.depth), 0, depths.argmin(0)))
    kinds = ["", *(thing.kind for thing in whole.things)]
    named = np.array(LABELS)[seen.label]
    np.testing.assert_array_equal(named[seen.instance > 0], np.array(kinds)[seen.instance[seen.instance > 0]])
    assert set(named[seen.instance == 0]) <= {"sky", "ground"}
    np.testing.assert_array_equal(named == "sky", np.isinf(seen.depth))


@pytest.mark.parametrize(("index", "split"), DRAWN)
def test_normals_are_of_unit_length_and_face_the_camera(index: int, split: str) -> None:
    seen = drawn(index, split)
    met = np.isfinite(seen.depth)
    np.testing.assert_allclose(np.linalg.norm(seen.normals[met], axis=-1), 1, atol=1e-6)
    focal = 0.5 / np.tan(np.radians(seen.scene.camera.field_of_view) / 2)
    rows, columns = np.nonzero(met)
    rays = np.column_stack([(columns + 0.5) / 48 - 0.5, (rows + 0.5 - 20) / 48, np.full(len(rows), focal)])
    assert (np.einsum("rc,rc->r", rays, seen.normals[met]) < 1e-6).all()


@pytest.mark.parametrize(("index", "split"), DRAWN)
def test_edges_are_where_the_next_pixel_is_of_another_thing_or_direction(index: int, split: str) -> None:
    seen = drawn(index, split)
    expected = np.zeros(seen.edges.shape, dtype=bool)
    for row in range(40):
        for column in range(48):
            for below, right in ((row + 1, column), (row, column + 1)):
                if below < 40 and right < 48:
                    expected[row, column] |= (
                        seen.instance[row, column] != seen.instance[below, right]
                        or seen.label[row, column] != seen.label[below, right]
                        or seen.normals[row, column] @ seen.normals[below, right] < 0.85
                    ) and (seen.label[row, column] != SKY or seen.label[below, right] != SKY)
    np.testing.assert_array_equal(seen.edges, expected)


def test_thermal_is_of_temperature_and_emissivity_alone() -> None:
    seen = render(scene(BALL), 33, 33)
    emissivity = MATERIALS["wooden"].emissivity
    expected = (emissivity * 310**4 + (1 - emissivity) * 285**4) ** 0.25
    np.testing.assert_allclose(seen.thermal[seen.instance == 1], expected, rtol=1e-6)
    np.testing.assert_allclose(seen.thermal[seen.label == GROUND], 285, rtol=1e-6)
    painted = replace(BALL, colour="blue", pattern="checked")
    other = render(scene(painted, light=Light(azimuth=0, elevation=10, sun=0.1)), 33, 33)
    np.testing.assert_array_equal(other.thermal, seen.thermal)
    assert (other.rgb != seen.rgb).mean() > 0.5
    metal = render(scene(replace(BALL, material="metal")), 33, 33)
    assert 285 < metal.thermal[16, 16] < 295 < expected


def test_nothing_moves_and_no_event_is_seen() -> None:
    assert not render(scene(BALL), 32, 32).event.any()


def test_events_are_steps_of_log_brightness() -> None:
    moving = scene(replace(BALL, velocity=(0.0, -8.0)))
    before, after = render(moving, 48, 48), render(moved(moving, EVENT_SECONDS), 48, 48)
    linear = [((one.rgb / 255) ** 2.2).mean(-1) for one in (before, after)]
    steps = np.log((0.02 + linear[1]) / (0.02 + linear[0])) / EVENT_STEP
    # Pixels are rounded, so the steps are known to a few hundredths.
    np.testing.assert_allclose(before.event, np.trunc(steps), atol=1)
    assert (before.event == np.trunc(steps)).mean() > 0.99
    assert (before.event > 0).any()
    assert (before.event < 0).any()
    still = (before.rgb == after.rgb).all(-1)
    assert not before.event[still].any()


@pytest.mark.parametrize(("index", "split"), DRAWN)
def test_lidar_points_are_where_depth_says(index: int, split: str) -> None:
    seen = drawn(index, split)
    x, y, z, back = seen.lidar.T.astype(np.float64)
    focal = 48 * 0.5 / np.tan(np.radians(seen.scene.camera.field_of_view) / 2)
    columns, rows = x / z * focal + 24 - 0.5, y / z * focal + 20 - 0.5
    np.testing.assert_allclose(columns, columns.round(), atol=1e-3)
    np.testing.assert_allclose(rows, rows.round(), atol=1e-3)
    places = rows.round().astype(int), columns.round().astype(int)
    np.testing.assert_allclose(seen.depth[places], z, rtol=1e-5)
    assert len(set(places[0])) <= 16
    lines = np.unique(np.linspace(0, 39, 16).round().astype(int))
    assert len(x) == np.isfinite(seen.depth[lines]).sum()
    assert (back >= 0).all()
    assert back.max() < 1


@pytest.mark.parametrize("name", IMAGES)
def test_a_finer_picture_has_the_coarser_one_in_it(name: str) -> None:
    one = draw_scene(3, 1)
    coarse, fine = render(one, 20, 30), render(one, 60, 90)
    np.testing.assert_allclose(
        getattr(fine, name)[1::3, 1::3].astype(float), getattr(coarse, name), rtol=1e-5, atol=1
    )


def test_things_are_seen_where_they_stand() -> None:
    one = scene(replace(BALL, place=(0.5, 1.0)))
    rows, columns = np.nonzero(render(one, 200, 200).instance == 1)
    across, down, _ = project(one.camera, np.array([(0.5, 1.0, 0.5)]))[0]
    assert (columns.mean() + 0.5) / 200 - 0.5 == pytest.approx(across, abs=0.01)
    assert (rows.mean() + 0.5) / 200 - 0.5 == pytest.approx(down, abs=0.01)


def test_the_photograph_shows_colours_by_the_light() -> None:
    red, blue = (render(scene(replace(BALL, colour=colour)), 33, 33) for colour in ("red", "blue"))
    ball = red.instance == 1
    assert (red.rgb[ball][:, 0] > red.rgb[ball][:, 2]).mean() > 0.9
    assert (blue.rgb[ball][:, 2] > blue.rgb[ball][:, 0]).mean() > 0.9
    dim = render(scene(BALL, light=replace(LIGHT, sun=0.2)), 33, 33)
    assert dim.rgb[ball].mean() < red.rgb[ball].mean()


def test_shades_are_of_shape_and_light_and_of_no_colour() -> None:
    things = [
        replace(BALL, colour=colour, pattern=pattern, material=material)
        for colour, pattern, material in (("red", "plain", "wooden"), ("white", "checked", "metal"))
    ]
    one, other = (render(scene(thing), 33, 33) for thing in things)
    assert (one.rgb != other.rgb).any()
    np.testing.assert_array_equal(one.shade, other.shade)
    darker = render(scene(things[0], light=replace(LIGHT, sun=0.2)), 33, 33)
    assert darker.shade[one.instance == 1].mean() < one.shade[one.instance == 1].mean()
    assert len(np.unique(one.shade[one.instance == 1])) > 10


def test_texture_is_where_the_photograph_changes() -> None:
    plain, checked = (
        render(scene(replace(BALL, pattern=pattern, colour="white")), 129, 129)
        for pattern in ("plain", "checked")
    )
    inside = plain.instance == 1
    inside &= np.roll(inside, 1, 0) & np.roll(inside, -1, 0) & np.roll(inside, 1, 1) & np.roll(inside, -1, 1)
    assert checked.texture[inside].mean() > 1.5 * plain.texture[inside].mean()
    assert 0 <= plain.texture.min() <= plain.texture.max() <= 1
    grey = plain.rgb.mean(-1) / 255
    slope = np.hypot(grey[65, 64] - grey[63, 64], grey[64, 65] - grey[64, 63]) / 2
    assert plain.texture[64, 64] == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 7), (9, 3)])
def test_any_size_is_rendered(height: int, width: int) -> None:
    seen = render(draw_scene(0, 0), height, width)
    assert seen.rgb.shape == (height, width, 3)
    assert seen.edges.shape == seen.event.shape == seen.depth.shape == (height, width)
    assert np.isfinite(seen.lidar).all()


@pytest.mark.parametrize(
    ("camera", "size", "message"),
    [
        (CAMERA, (0, 5), r"height and width must be at least 1, got 0 and 5\."),
        (replace(CAMERA, position=(0.0, 1.0, -1.0)), (4, 4), r"over the ground, got a height of -1\.0 m\."),
        (replace(CAMERA, position=(0.0, 0.0, 3.0)), (4, 4), r"must not look straight up or down, got "),
    ],
    ids=["no pixels", "under the ground", "straight down"],
)
def test_what_cannot_be_seen_is_refused(camera: Camera, size: tuple[int, int], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        render(scene(BALL, camera=camera), *size)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(OptionError, match=r"kind must be one that the world knows, got 'bal'\. Did you mean"):
        render(scene(replace(BALL, kind="bal")))
