"""Twins of the set of MFNet: four channels in a file, and a folder each."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fuseloom.data import load, read_mfnet
from fuseloom.data.label_maps import IGNORED
from fuseloom.data.maps import read_map
from fuseloom.data.media import read_image
from fuseloom.errors import DataError

Paint = Callable[..., None]
NAMES = {"train": ("00001D", "00002N", "00001D_flip"), "val": ("00003D",), "test": ("00004N", "00005D")}
COLOURS, WARMTH = np.array([10, 20, 30], dtype=np.uint8), 200


def whole(place: int) -> np.ndarray:
    warmth = np.full((6, 8, 1), WARMTH + place, dtype=np.uint8)
    return np.concatenate([np.broadcast_to(COLOURS, (6, 8, 3)), warmth], axis=-1)


@pytest.fixture
def folder(tmp_path: Path, paint: Paint) -> Path:
    for place, name in enumerate(one for names in NAMES.values() for one in names):
        label = np.full((6, 8), place, dtype=np.uint8)
        label[0] = 255
        paint(f"mf/images/{name}.png", whole(place))
        paint(f"mf/labels/{name}.png", label)
    for split, names in NAMES.items():
        (tmp_path / "mf" / f"{split}.txt").write_text("\n".join(names))
    return tmp_path / "mf"


def seen(rows: object, row: int) -> tuple[list[int], float]:
    """Colours and warmth of the first pixel of a row."""
    rgb, thermal = (rows.modalities[name].items[row] for name in ("rgb", "thermal"))
    values, _ = read_map(thermal)
    assert values.shape == (1, 6, 8)
    return read_image(rgb)[0, 0].tolist(), float(values[0, 0, 0])


def test_photograph_and_warmth_are_channels_of_one_file(folder: Path) -> None:
    rows = load(folder)
    assert {name: one.kind for name, one in rows.modalities.items()} == {"rgb": "image", "thermal": "map"}
    assert (rows.name, rows.ids) == ("mfnet", ["00001D", "00002N", "00003D", "00004N", "00005D"])
    assert seen(rows, 1) == ([10, 20, 30], WARMTH + 1)
    assert rows.split.tolist() == ["train", "train", "valid", "test", "test"]
    assert rows.labels["time"].tolist() == ["day", "night", "day", "night", "day"]
    assert rows.target[1].read()[:2, 0].tolist() == [IGNORED, 1]
    assert rows.target[1].names == tuple("012345678")
    assert "left out: 1 mirrored copies (_flip)" in rows.notes


@pytest.mark.parametrize("four", [False, True])
def test_photographs_and_warmth_may_have_folders(folder: Path, paint: Paint, four: bool) -> None:
    (folder / "images").rename(folder / "gone")
    for place, name in enumerate(one for names in NAMES.values() for one in names):
        paint(f"mf/rgb/{name}.png", whole(place)[..., :3])
        paint(f"mf/ther/{name}.png", whole(place) if four else whole(place)[..., 3])
    assert seen(load(folder), 1) == ([10, 20, 30], WARMTH + 1)


def test_a_scene_that_lacks_a_file_or_its_warmth_is_set_aside(folder: Path, paint: Paint) -> None:
    (folder / "labels" / "00001D.png").unlink()
    paint("mf/images/00002N.png", whole(1)[..., :3])
    (folder / "images" / "00004N.png").unlink()
    rows = load(folder)
    assert {one.where: one.reason for one in rows.set_aside} == {
        "mfnet 00001D": "target 'label' must be known, got 00001D.png: no such file",
        "mfnet 00002N": "thermal: 00002N.png: must have 4 channels or more, got 3",
        "mfnet 00004N": "rgb: 00004N.png: no such file",
    }


def test_without_a_validation_list_there_are_two_splits(folder: Path) -> None:
    (folder / "val.txt").unlink()
    assert set(load(folder).split.tolist()) == {"train", "test"}


def test_what_is_missing_is_answered(folder: Path) -> None:
    (folder / "test.txt").write_text("00004N other")
    with pytest.raises(
        DataError, match=r"test\.txt must have a name such as 00001D in each line, got '00004N o"
    ):
        load(folder)
    (folder / "test.txt").unlink()
    with pytest.raises(
        DataError, match=r"mf must hold train\.txt, test\.txt, images and labels, got images, "
    ):
        read_mfnet(folder)
