"""SUN RGB-D: which of 37 things is at each pixel of a room, from a photograph and its depth."""

import re
from collections.abc import Sequence
from pathlib import Path

from fuseloom.data.dataset import Image, Map
from fuseloom.data.label_maps import LabelFormat
from fuseloom.data.nyudv2 import CLASSES as ROOM_CLASSES
from fuseloom.data.scene_lists import LABEL, Scene, first_line, paths_of, read_list, scene_source
from fuseloom.data.source import Source
from fuseloom.errors import DataError

__all__ = ["CLASSES", "FILES", "is_sun_rgbd", "read_sun_rgbd"]

FILES = ("train.txt", "test.txt", "RGB", "labels", "Depth")
"""What the folder of the set holds."""

CLASSES = ROOM_CLASSES[:37]
"""The first 37 of the 40 of NYUDv2."""

_PUBLISHED = {"train": 5285, "test": 5050}
_FIRST = re.compile(r"RGB/train_\d+\.jpg(\s|$)")
_NUMBERS = tuple(range(1, len(CLASSES) + 1))


def is_sun_rgbd(folder: Path) -> bool:
    """Whether a folder is the set: told by its list, or without one by its first photograph."""
    first = first_line(folder / "train.txt")
    listed = _FIRST.match(first) is not None
    return listed or (
        not first and (folder / "labels").is_dir() and (folder / "RGB" / "train_0.jpg").is_file()
    )


def read_sun_rgbd(folder: Path | str, *, lists: Path | str | None = None) -> Source:
    """Read photographs, depth and labels in the layout of DFormer, which GeminiFusion reads.

    ``RGB/train_0.jpg`` to ``train_5284.jpg`` and ``test_0.jpg`` to ``test_5049.jpg``, as published, with
    ``labels/train_0.png`` and ``Depth/train_0.png``. A line of ``train.txt`` and ``test.txt`` names the
    photograph, labels and depth, or the photograph alone. A scene that lacks a file is set aside.

    *Splits*: papers also choose their best epoch by the test rows. Here validation rows are drawn from those
    of training, as for any set without them.

    *Labels* are counted from 1; 0 and 255 do not count. The unit of depth is not established: numbers are
    those of the files.

    Data: Song et al., 2015, doi:10.1109/CVPR.2015.7298655.

    Args:
        folder: Of the set.
        lists: Holds ``train.txt`` and ``test.txt``; by default the folder.

    Raises:
        DataError: no lists, or one that is not of the format.
    """
    folder = Path(folder)
    home = folder if lists is None else Path(lists)
    if absent := [name for name in FILES[:2] if not (home / name).is_file()]:
        raise DataError(
            f"{folder.name} must come with the lists train.txt and test.txt, got no {absent[0]}. Put those "
            "of the official code into the folder, or give lists."
        )
    scenes = [
        _scene(home / f"{split}.txt", split, names)
        for split in _PUBLISHED
        for names in read_list(home / f"{split}.txt")
    ]
    return scene_source(
        "sun-rgbd",
        folder,
        scenes,
        arrays={
            "rgb": Image(items=paths_of(scenes, "rgb", folder)),
            "depth": Map(items=paths_of(scenes, "depth", folder)),
        },
        form=LabelFormat(names=CLASSES, numbers=_NUMBERS, ignored=(0, 255)),
        published=_PUBLISHED,
        notes=(
            "splits: papers also choose by the test rows; here validation rows are drawn from train.txt",
            "the unit of depth is not established: numbers are those of its files",
        ),
    )


def _scene(path: Path, split: str, names: Sequence[str]) -> Scene:
    stem = Path(names[0]).stem
    if len(names) == 1:
        names = (names[0], f"labels/{stem}.png", f"Depth/{stem}.png")
    if len(names) != 3:
        raise DataError(
            f"{path.name} must have lines such as RGB/train_0.jpg, labels/train_0.png and Depth/train_0.png "
            f"with tabs between, or the first alone, got {' '.join(names)!r}."
        )
    rgb, label, depth = names
    return Scene(id=stem, split=split, files={"rgb": rgb, LABEL: label, "depth": depth})
