"""Maps of a scene, what is at each pixel, and how far photographs or distances alone can go."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fuseloom.data.scenes import COLOURS, FAMILIES, is_held_out
from fuseloom.data.scenes.failures import FAILURES
from fuseloom.data.scenes.kinds import KINDS, family_of
from fuseloom.data.scenes.seg import (
    MAPS,
    SEG_LABELS,
    WARM,
    SegExample,
    SegScenes,
    seg_ceilings,
    seg_example,
    write_seg_scenes,
)
from fuseloom.errors import DataError, OptionError

SMALL = SegScenes(pixels=48)
ALL_BOARDS, NO_BOARDS = (SegScenes(pixels=48, boards=share) for share in (1.0, 0.0))


def examples(count: int, settings: SegScenes = SMALL, split: str = "train") -> list[SegExample]:
    return [seg_example(settings, 3, index, split) for index in range(count)]


def test_a_photograph_does_not_tell_a_board_from_what_it_shows() -> None:
    for index in range(10):
        boards, things = (seg_example(one, 3, index) for one in (ALL_BOARDS, NO_BOARDS))
        for kind in ("rgb", "event", "shade", "texture"):
            np.testing.assert_array_equal(boards.maps[kind], things.maps[kind])
        shown = boards.rendering.instance > 0
        assert (boards.label[shown] == SEG_LABELS.index("board")).all()
        assert (things.label[shown] > SEG_LABELS.index("board")).all()
        np.testing.assert_array_equal(boards.label[~shown], things.label[~shown])


def test_a_board_is_flat_across_the_line_of_sight_and_as_warm_as_the_air() -> None:
    bent = 0
    for index in range(10):
        board, real = (seg_example(one, 3, index) for one in (ALL_BOARDS, NO_BOARDS))
        seen = board.rendering
        for number in range(1, len(seen.scene.things) + 1):
            mine = seen.instance == number
            if mine.any():
                assert np.ptp(board.maps["depth"][mine]) == 0
                near = np.abs(board.maps["depth"][mine].mean() - real.maps["depth"][mine].mean())
                assert near < 1.5
                assert (board.maps["normals"][mine] == (0, 0, -1)).all()
                assert (board.maps["thermal"][mine] == np.float32(seen.scene.air_temperature)).all()
                bent += np.ptp(real.maps["depth"][mine]) > 0.1
        assert board.maps["edges"].sum() <= real.maps["edges"].sum()
    assert bent > 20


def test_lidar_is_the_depth_of_sixteen_rows() -> None:
    one = seg_example(SMALL, 3, 1)
    rows = np.flatnonzero(one.maps["lidar"].any(1))
    assert 8 < len(rows) <= 16
    seen = one.maps["lidar"] > 0
    np.testing.assert_array_equal(one.maps["lidar"][seen], one.maps["depth"][seen])


def test_labels_are_families_and_of_some_whether_their_colour_is_warm() -> None:
    found = set()
    for one in examples(40, NO_BOARDS):
        for number, thing in enumerate(one.rendering.scene.things, start=1):
            labels = {
                SEG_LABELS[label] for label in set(one.label[one.rendering.instance == number].tolist())
            }
            family = family_of(thing.kind)
            if family in ("vehicle", "toy"):
                family = ("warm " if thing.colour in WARM else "cold ") + family
            assert labels <= {family}
            found |= labels
    assert found == {*SEG_LABELS} - {"sky", "ground", "board"}


@pytest.mark.parametrize("held_out", [True, False])
def test_the_shape_of_a_thing_says_nothing_of_whether_its_colour_is_warm(held_out: bool) -> None:
    for kind in KINDS:
        drawn = [colour in WARM for colour in COLOURS if is_held_out(kind, colour) == held_out]
        assert 2 * sum(drawn) == len(drawn) > 0
    assert len(FAMILIES) == 7


def test_how_often_a_thing_is_a_board_does_not_depend_on_what_it_is() -> None:
    drawn = [
        (family_of(thing.kind), board)
        for index in range(600)
        for one in [seg_example(SegScenes(pixels=16), 5, index)]
        for thing, board in zip(one.rendering.scene.things, one.boards, strict=True)
    ]
    for family in FAMILIES:
        boards = [board for name, board in drawn if name == family]
        assert abs(np.mean(boards) - 0.4) < 4 * np.sqrt(0.24 / len(boards))


def test_pixels_are_counted_by_what_they_look_like() -> None:
    for one in examples(5):
        assert one.counts.sum() == one.label.size
        assert one.counts[:, 1].sum() == (one.label == SEG_LABELS.index("board")).sum()
        for label in range(len(SEG_LABELS)):
            if label != SEG_LABELS.index("board"):
                assert one.counts[label, 0] == (one.label == label).sum()


def union_over(found: np.ndarray, true: np.ndarray) -> float:
    labels = np.unique(true)
    return float(
        np.mean(
            [
                ((found == one) & (true == one)).sum() / ((found == one) | (true == one)).sum()
                for one in labels
            ]
        )
    )


def test_oracles_that_guess_reach_the_ceilings_and_no_more() -> None:
    drawn = [one for split in ("train", "test") for one in examples(150, split=split)]
    ceilings = seg_ceilings(np.sum([one.counts for one in drawn], 0))
    true = np.concatenate([one.label.ravel() for one in drawn])
    looks = np.concatenate([one.label.ravel() for one in (without_boards(one) for one in drawn)])
    assert union_over(looks, true) == pytest.approx(ceilings.rgb, abs=0.03)
    assert union_over(looks, true) <= ceilings.rgb + 1e-9
    generator = np.random.default_rng(0)
    blind = true.copy()
    for warm in (SEG_LABELS.index("warm vehicle"), SEG_LABELS.index("warm toy")):
        both = (true == warm) | (true == warm + 1)
        blind[both] = warm + generator.integers(0, 2, both.sum())
    assert union_over(blind, true) == pytest.approx(ceilings.depth, abs=0.01)
    assert ceilings.rgb < ceilings.depth < ceilings.both == 1


def without_boards(one: SegExample) -> SegExample:
    """The same with real things in the place of boards."""
    return SegExample(id=one.id, rendering=one.rendering, boards=(False,) * len(one.boards))


def test_without_boards_or_colours_one_sensor_is_enough() -> None:
    counts = np.sum([one.counts for one in examples(20, NO_BOARDS)], 0)
    assert seg_ceilings(counts).rgb == 1
    counts[-4:] = 0
    assert seg_ceilings(counts).depth == 1


def test_what_is_written_is_what_was_drawn(tmp_path: Path) -> None:
    stated = write_seg_scenes(
        tmp_path / "made", SMALL, scenes={"train": 3, "test": 2}, failures=["night", "no-depth"], seed=3
    )
    with (tmp_path / "made" / "scenes-seg.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows] == ["train"] * 3 + ["test", "test-night", "test-no-depth"] * 2
    facts = json.loads((tmp_path / "made" / "scenes-seg.json").read_text("utf-8"))
    assert facts["labels"] == [*SEG_LABELS]
    assert facts["ceilings"]["test"]["rgb"] == stated["test"].rgb

    def read(row: dict[str, str], column: str) -> np.ndarray:
        return np.asarray(Image.open(tmp_path / "made" / row[column])).astype(float)

    one = seg_example(SMALL, 3, 2)
    row = rows[2]
    assert row["id"] == one.id
    np.testing.assert_array_equal(read(row, "label"), one.label)
    np.testing.assert_array_equal(read(row, "rgb"), one.maps["rgb"])
    depth = np.where(np.isfinite(one.maps["depth"]), one.maps["depth"], 0)
    np.testing.assert_allclose(read(row, "depth") / 1000, depth, atol=6e-4)
    np.testing.assert_allclose(read(row, "lidar") / 1000, one.maps["lidar"], atol=6e-4)
    np.testing.assert_allclose(read(row, "thermal") / 100, one.maps["thermal"], atol=6e-3)
    np.testing.assert_allclose((read(row, "normals") - 128) / 127, one.maps["normals"], atol=5e-3)
    np.testing.assert_array_equal(read(row, "edges") > 0, one.maps["edges"])
    np.testing.assert_array_equal(read(row, "event") - 128, one.maps["event"])
    np.testing.assert_array_equal(read(row, "shade"), one.maps["shade"])
    np.testing.assert_allclose(read(row, "texture") / 255, one.maps["texture"], atol=2e-3)
    night, lost = rows[4], rows[5]
    assert night["failure"] == "night"
    assert night["depth"] == rows[3]["depth"]
    assert read(night, "rgb").mean() < 0.5 * read(rows[3], "rgb").mean()
    assert lost["rgb"] == rows[3]["rgb"]
    assert read(lost, "depth").max() == 0
    assert all((tmp_path / "made" / row[kind]).is_file() for row in rows for kind in (*MAPS, "label"))


def test_each_failure_can_be_written_and_a_set_is_the_same_each_time(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        write_seg_scenes(tmp_path / folder, SMALL, scenes={"test": 1}, failures=list(FAILURES), seed=4)
    one, other = ((tmp_path / folder).rglob("*.png") for folder in ("one", "other"))
    first, second = (
        {file.name + file.parent.name: file.read_bytes() for file in files} for files in (one, other)
    )
    assert first == second
    assert len(first) == len(MAPS) + 1 + sum(2 if name == "jitter" else 1 for name in FAILURES)


def test_bad_input_is_answered(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"boards must be in \[0, 1\], got 1\.5\."):
        SegScenes(boards=1.5)
    with pytest.raises(OptionError, match=r"pixels must be at least 16, got 8\."):
        SegScenes(pixels=8)
    with pytest.raises(OptionError, match=r"failures must be of \['night', .* got 'rain'"):
        write_seg_scenes(tmp_path, failures=["rain"])
    (tmp_path / "something").touch()
    with pytest.raises(DataError):
        write_seg_scenes(tmp_path, scenes={"train": 1})
