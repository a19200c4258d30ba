"""Twins of SUN RGB-D as DFormer has it, and the published lists."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fuseloom.data import load, read_sun_rgbd
from fuseloom.data.label_maps import IGNORED
from fuseloom.data.maps import read_map
from fuseloom.errors import DataError

Paint = Callable[..., None]
NAMES = {"train": [f"train_{number}" for number in range(4)], "test": ["test_0", "test_1"]}


@pytest.fixture
def folder(tmp_path: Path, paint: Paint) -> Path:
    for names in NAMES.values():
        for place, name in enumerate(names):
            label = np.full((6, 8), place + 1, dtype=np.uint8)
            label[0], label[1], label[2] = 0, 255, 37
            paint(f"sun/RGB/{name}.jpg", np.full((6, 8, 3), 30 * place, dtype=np.uint8))
            paint(f"sun/labels/{name}.png", label)
            paint(f"sun/Depth/{name}.png", np.full((6, 8), place, dtype=np.uint8))
    for split, names in NAMES.items():
        lines = [f"RGB/{one}.jpg\tlabels/{one}.png\tDepth/{one}.png" for one in names]
        (tmp_path / "sun" / f"{split}.txt").write_text("\n".join(lines))
    return tmp_path / "sun"


def test_scenes_are_photograph_depth_and_labels(folder: Path) -> None:
    rows = load(folder)
    assert {name: one.kind for name, one in rows.modalities.items()} == {"rgb": "image", "depth": "map"}
    assert (rows.name, len(rows), rows.ids[5]) == ("sun-rgbd", 6, "test_1")
    labels = rows.target[2].read()
    assert labels[:4, 0].tolist() == [IGNORED, IGNORED, 36, 2]
    assert (len(rows.target[2].names), rows.target[2].names[36]) == (37, "bag")
    values, known = read_map(rows.modalities["depth"].items[0], rows.modalities["depth"].form)
    assert (values.max(), known.all()) == (0, True)


def test_lists_of_photographs_alone_name_the_same_files(folder: Path) -> None:
    whole = load(folder)
    for split, names in NAMES.items():
        (folder / f"{split}.txt").write_text("".join(f"RGB/{one}.jpg\n" for one in names))
    rows = load(folder)
    assert rows.ids == whole.ids
    assert rows.modalities["depth"].items.tolist() == whole.modalities["depth"].items.tolist()
    assert [one.item for one in rows.target] == [one.item for one in whole.target]


def test_a_scene_that_lacks_its_depth_is_set_aside(folder: Path) -> None:
    (folder / "Depth" / "train_1.png").unlink()
    rows = load(folder)
    (aside,) = rows.set_aside
    assert (aside.where, aside.reason) == ("sun-rgbd train_1", "depth: train_1.png: no such file")


def test_a_list_that_is_missing_or_of_another_kind_is_answered(folder: Path) -> None:
    (folder / "train.txt").write_text("RGB/train_0.jpg labels/train_0.png")
    with pytest.raises(
        DataError, match=r"train\.txt must have lines such as .* or the first alone, got 'RGB"
    ):
        load(folder)
    (folder / "train.txt").unlink()
    with pytest.raises(DataError, match=r"sun must come with the lists .* got no train\.txt\. Put those of"):
        load(folder)


def test_published_lists_have_as_many_rows_as_papers_say(data_dir: Path, tmp_path: Path) -> None:
    lists = data_dir / "sunrgbd-splits"
    if not lists.is_dir():
        pytest.skip("no lists of SUN RGB-D")
    source = read_sun_rgbd(tmp_path, lists=lists)
    assert Counter(source.labels["split"].tolist()) == {"train": 5285, "test": 5050}
    assert not any("so scores compare" in note for note in source.notes)
    assert source.arrays["depth"].items[0] == tmp_path / "Depth" / "train_0.png"
