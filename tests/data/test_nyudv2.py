"""Twins of NYUDv2 as CEN and TokenFusion have it and as GeminiFusion does, and the published lists."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fuseloom.cli.group import fuseloom
from fuseloom.data import load, make_splits, read_nyudv2, read_rows
from fuseloom.data.label_maps import IGNORED
from fuseloom.data.maps import read_map
from fuseloom.data.media import PicturePart
from fuseloom.errors import DataError

Paint = Callable[..., None]
TRAIN, TEST = ("000003", "000004", "000005", "000007", "000010", "000011"), ("000001", "000002")
SIZE = (9, 12)


def listed(names: tuple[str, ...]) -> str:
    return "\n".join(f"rgb/{one}.png\tmasks/{one}.png\tdepth/{one}.png" for one in names)


@pytest.fixture
def folder(tmp_path: Path, paint: Paint) -> Path:
    """Labels from 0, whose photographs have lost a border that depth still has."""
    for place, name in enumerate((*TRAIN, *TEST)):
        mask = np.full(SIZE, place, dtype=np.uint8)
        mask[0], mask[1] = 255, 39
        depth = np.full((12, 15), 5000 * (place + 1), dtype=np.uint16)
        depth[1:10, 1] = 0
        paint(f"nyudv2/rgb/{name}.png", np.full((*SIZE, 3), 20 * place, dtype=np.uint8))
        paint(f"nyudv2/masks/{name}.png", mask)
        paint(f"nyudv2/depth/{name}.png", depth)
    root = tmp_path / "nyudv2"
    for file, names in {"train.txt": TRAIN, "val.txt": TEST}.items():
        (root / file).write_text(listed(names))
    return root


def counted_from_one(folder: Path, paint: Paint) -> None:
    (folder / "depth").rename(folder / "gone")
    for place, name in enumerate((*TRAIN, *TEST)):
        mask = np.full(SIZE, place + 1, dtype=np.uint8)
        mask[0], mask[1], mask[2] = 0, 255, 40
        paint(f"nyudv2/masks/{name}.png", mask)
        paint(f"nyudv2/HHA/{name}.png", np.full((*SIZE, 3), place, dtype=np.uint8))


def test_scenes_are_photograph_depth_and_labels(folder: Path) -> None:
    rows = load(folder)
    assert {name: one.kind for name, one in rows.modalities.items()} == {"rgb": "image", "depth": "map"}
    assert (rows.name, rows.schema.target_kind, rows.ids[0]) == ("nyudv2", "labels", "000003")
    assert rows.split.tolist() == ["train"] * 6 + ["test"] * 2
    labels = rows.target[2].read()
    assert (labels.shape, labels[0].tolist(), labels[1, 0], labels[2, 0]) == (SIZE, [IGNORED] * 12, 39, 2)
    assert (rows.target[0].names[0], rows.target[0].names[39]) == ("wall", "otherprop")
    assert any(
        note.startswith("labels: counted from 0, as 40 occurs in none of 8 maps") for note in rows.notes
    )
    assert "splits: train 6, test 2 rows where papers have train 795, test 654, so scores" in " ".join(
        rows.notes
    )


def test_depth_is_in_metres_and_cut_to_what_the_photograph_shows(folder: Path) -> None:
    rows = load(folder)
    depth = rows.modalities["depth"]
    assert depth.items[1] == PicturePart(folder / "depth" / "000004.png", size=SIZE)
    values, known = read_map(depth.items[1], depth.form)
    assert values.shape == (1, *SIZE)
    assert (known[:, 0].any(), known[:, 1:].all()) == (False, True)
    np.testing.assert_allclose(values[0][known], 2.0)
    assert "of 8 in depth that are larger than their labels, the middle is read" in rows.notes


def test_scenes_without_labels_are_read_for_prediction(folder: Path) -> None:
    rows = load(folder)
    (folder / "masks").rename(folder / "gone")
    new = read_rows(folder, rows.schema)
    assert len(new) == len(rows)
    assert new.modalities["depth"].items.tolist() == rows.modalities["depth"].items.tolist()


def test_validation_rows_are_drawn_from_those_of_training(folder: Path) -> None:
    rows = load(folder)
    (split,) = make_splits(rows, stratify=False, seed=0)
    assert Counter(split.tolist()) == {"train": 5, "valid": 1, "test": 2}
    assert split.tolist()[6:] == ["test", "test"]
    assert any(
        note.startswith("splits: val.txt is the test split; papers also choose") for note in rows.notes
    )


def test_a_validation_list_of_ones_own_stays_one(folder: Path) -> None:
    (folder / "test.txt").write_text(listed(TEST[1:]))
    (folder / "val.txt").write_text(listed(TEST[:1]))
    assert Counter(load(folder).split.tolist()) == {"train": 6, "valid": 1, "test": 1}


def test_labels_from_one_and_hha_are_told_by_what_is_there(folder: Path, paint: Paint) -> None:
    counted_from_one(folder, paint)
    rows = load(folder)
    assert {name: one.kind for name, one in rows.modalities.items()} == {"rgb": "image", "hha": "image"}
    labels = rows.target[2].read()
    assert [labels[row, 0] for row in range(4)] == [IGNORED, IGNORED, 39, 2]
    assert any("counted from 1, as 40 occurs in 000003.png" in note for note in rows.notes)
    assert load(read_nyudv2(folder, first=1)).target[2].read().tolist() == labels.tolist()


def test_lists_may_lie_elsewhere(folder: Path, tmp_path: Path) -> None:
    for name in ("train.txt", "val.txt"):
        (folder / name).rename(tmp_path / name)
    assert len(load(read_nyudv2(folder, lists=tmp_path))) == 8
    with pytest.raises(
        DataError, match=r"nyudv2 must come with the lists train\.txt and val\.txt, got neither"
    ):
        load(folder)


def test_a_scene_that_lacks_a_file_is_set_aside(folder: Path) -> None:
    (folder / "depth" / "000003.png").unlink()
    (folder / "masks" / "000004.png").unlink()
    (folder / "rgb" / "000005.png").write_bytes(b"no picture")
    rows = load(folder)
    assert {one.where: one.reason for one in rows.set_aside} == {
        "nyudv2 000003": "depth: 000003.png: no such file",
        "nyudv2 000004": "target 'label' must be known, got 000004.png: no such file",
        "nyudv2 000005": "rgb: 000005.png: not a picture in a known format",
    }
    checked = CliRunner().invoke(fuseloom, ["data", "check", str(folder)])
    assert checked.exit_code == 1
    assert "unreadable (3)" in checked.stdout


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rgb/000003.png", r"train\.txt must have lines such as .* got 'rgb/000003\.png'"),
        (
            "rgb/000003.png ../x.png depth/1.png",
            r"train\.txt:1 must name files in the folder, got '\.\./x\.png'",
        ),
        ("", "must name each scene once, got '000001' again"),
    ],
)
def test_a_list_of_another_kind_is_refused(folder: Path, line: str, message: str) -> None:
    (folder / "train.txt").write_text(line or listed(TEST))
    with pytest.raises(DataError, match=message):
        read_nyudv2(folder)


def test_without_depth_there_is_nothing_to_fuse(folder: Path) -> None:
    (folder / "depth").rename(folder / "gone")
    with pytest.raises(DataError, match="nyudv2 must hold depth or HHA, got neither"):
        load(folder)


def test_published_lists_have_as_many_rows_as_papers_say(
    data_dir: Path, tmp_path: Path, paint: Paint
) -> None:
    lists = data_dir / "nyudv2-splits"
    if not lists.is_dir():
        pytest.skip("no lists of NYUDv2")
    paint("nyudv2/depth/000001.png", np.zeros((2, 2), dtype=np.uint16))
    source = read_nyudv2(tmp_path / "nyudv2", lists=lists)
    assert Counter(source.labels["split"].tolist()) == {"train": 795, "test": 654}
    assert sorted(source.ids) == [f"{number:06d}" for number in range(1, 1450)]
    assert not any("so scores compare" in note for note in source.notes)
