"""A twin of DeLiVER: four modalities, two weathers, and scenes of which a sensor fails."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fuseloom.data import ReadOptions, load, read_deliver
from fuseloom.data.label_maps import IGNORED
from fuseloom.data.media import read_image
from fuseloom.errors import DataError

Paint = Callable[..., None]
PLACES = {
    ("cloud", "train"): ("MAP_1_point1", "MAP_2_point1_motionblur"),
    ("cloud", "val"): ("MAP_3_point1", "MAP_1_point1_eventlowres"),
    ("sun", "train"): ("MAP_1_point1",),
    ("sun", "test"): ("MAP_4_point2_lidarjitter",),
}
FILES = {"img": "rgb", "hha": "depth", "event": "event", "lidar": "lidar", "semantic": "semantic"}


@pytest.fixture
def folder(tmp_path: Path, paint: Paint) -> Path:
    """Pictures as a simulator writes them, with four channels, and labels in the first."""
    for place, ((weather, split), names) in enumerate(PLACES.items()):
        for name in names:
            for shade, (home, said) in enumerate(FILES.items()):
                side = 5 if home == "event" and name.endswith("eventlowres") else 10
                pixels = np.full((side, side, 4), 40 * shade + place, dtype=np.uint8)
                if home == "semantic":
                    pixels[..., 0] = 25
                    pixels[0, :, 0], pixels[1, :, 0], pixels[2, :, 0] = 0, 255, 1
                pixels[..., 3] = 255
                paint(f"img_rgb/{home}/{weather}/{split}/{name}/000010_{said}_front.png", pixels)
    return tmp_path / "img_rgb"


def test_scenes_have_four_modalities_and_labels(folder: Path) -> None:
    rows = load(folder)
    assert {name: one.kind for name, one in rows.modalities.items()} == dict.fromkeys(
        ("rgb", "depth", "event", "lidar"), "image"
    )
    assert (rows.name, len(rows), rows.ids[0]) == ("deliver", 6, "cloud/MAP_1_point1/000010")
    assert [int(read_image(one.items[0])[0, 0, 0]) for one in rows.modalities.values()] == [0, 40, 80, 120]
    labels = rows.target[0].read()
    assert labels[:4, 0].tolist() == [IGNORED, IGNORED, 0, 24]
    assert (rows.target[0].names[0], rows.target[0].names[24]) == ("Building", "Truck")


def test_conditions_are_labels_and_splits_are_folders(folder: Path) -> None:
    rows = load(folder)
    assert rows.split.tolist() == ["train", "train", "valid", "valid", "train", "test"]
    assert rows.labels["weather"].tolist() == ["cloud"] * 4 + ["sun"] * 2
    assert Counter(rows.labels["failure"].tolist()) == {
        "none": 3,
        "motionblur": 1,
        "eventlowres": 1,
        "lidarjitter": 1,
    }
    assert set(rows.labels["place"].tolist()) == {
        "MAP_1_point1",
        "MAP_2_point1",
        "MAP_3_point1",
        "MAP_4_point2",
    }
    assert "1 of 4 of 'place' stand in two splits" in " ".join(rows.notes)
    assert "splits: papers choose by the validation rows and score them; here the test" in " ".join(
        rows.notes
    )
    assert "valid 2, test 1 rows where papers have train 3,983, valid 2,005, test 1,897" in " ".join(
        rows.notes
    )


def test_a_modality_without_folder_is_left_out_and_a_scene_without_file_set_aside(folder: Path) -> None:
    (folder / "lidar").rename(folder / "gone")
    (folder / "hha/sun/train/MAP_1_point1/000010_depth_front.png").unlink()
    strange = folder / "img/sun/train/MAP_1_point1/000010.png"
    strange.write_bytes((folder / "img/sun/train/MAP_1_point1/000010_rgb_front.png").read_bytes())
    rows = load(folder)
    assert sorted(rows.modalities) == ["depth", "event", "rgb"]
    assert "lidar: left out, as there is no lidar" in rows.notes
    assert {one.where: one.reason for one in rows.set_aside} == {
        "deliver sun/MAP_1_point1/000010": "depth: 000010_depth_front.png: no such file",
        "deliver MAP_1_point1/000010.png": "must be called <frame>_rgb_front.png",
    }


def test_names_of_ones_own_keep_the_channel_of_labels(folder: Path) -> None:
    (folder / "labels.csv").write_text("label,name\n0,\n1,house\n25,lorry\n")
    rows = load(folder, ReadOptions(labels=str(folder / "labels.csv")))
    assert rows.target[0].names == ("house", "lorry")
    assert rows.target[0].read()[:4, 0].tolist() == [IGNORED, IGNORED, 0, 1]


def test_a_folder_of_something_else_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must hold img and one or more of hha, event and lidar, got none of"):
        read_deliver(tmp_path)
    for weather in ("cloud", "sun"):
        (folder / "img" / weather).rename(folder / "img" / f"{weather}y")
    with pytest.raises(DataError, match=r"must hold img/<weather>/<split>/<place>/<frame>_rgb_front\.png"):
        read_deliver(folder)
