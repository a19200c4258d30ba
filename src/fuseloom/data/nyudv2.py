"""NYUDv2: which of 40 things is at each pixel of a room, from a photograph and its depth."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Files, Image, Map
from fuseloom.data.label_maps import LabelFormat
from fuseloom.data.maps import MapFormat, map_numbers
from fuseloom.data.media import PicturePart, picture_head
from fuseloom.data.scene_lists import LABEL, Scene, as_objects, first_line, paths_of, read_list, scene_source
from fuseloom.data.source import Source
from fuseloom.errors import DataError

__all__ = ["CLASSES", "FILES", "is_nyudv2", "read_nyudv2"]

FILES = ("train.txt", "val.txt", "rgb", "masks", "depth")
"""What the folder of the set holds; instead of ``depth``, or beside it, ``HHA``."""

CLASSES = (
    "wall",
    "floor",
    "cabinet",
    "bed",
    "chair",
    "sofa",
    "table",
    "door",
    "window",
    "bookshelf",
    "picture",
    "counter",
    "blinds",
    "desk",
    "shelves",
    "curtain",
    "dresser",
    "pillow",
    "mirror",
    "floor mat",
    "clothes",
    "ceiling",
    "books",
    "refrigerator",
    "television",
    "paper",
    "towel",
    "shower curtain",
    "box",
    "whiteboard",
    "person",
    "night stand",
    "toilet",
    "sink",
    "lamp",
    "bathtub",
    "bag",
    "otherstructure",
    "otherfurniture",
    "otherprop",
)
"""The standard 40, in the order of their numbers."""

_PUBLISHED = {"train": 795, "test": 654}
_FIRST = re.compile(r"rgb/\d{6}\.png\s")
_METRES = MapFormat(scale=1 / 5000, unknown=(0,))
_LOOKED_AT = 64


def is_nyudv2(folder: Path) -> bool:
    """Whether a folder is the set: told by its list, or without one by its first photograph."""
    first = first_line(folder / "train.txt")
    listed = _FIRST.match(first) is not None
    return listed or (not first and (folder / "masks").is_dir() and (folder / "rgb" / "000001.png").is_file())


def read_nyudv2(
    folder: Path | str, *, lists: Path | str | None = None, first: Literal[0, 1] | None = None
) -> Source:
    """Read photographs, depth and labels in the layout of CEN and TokenFusion, or in that of GeminiFusion.

    ``rgb/000001.png`` to ``001449.png``, ``masks`` of the same names, and ``depth``, or HHA pictures of it in
    ``HHA``, which become the modality ``hha``; where both are there, both are read. ``train.txt`` and
    ``val.txt`` have 795 and 654 lines, as published: photograph, labels and depth with tabs between. A scene
    that lacks a file is set aside.

    *Splits*: papers test on ``val.txt`` and also choose their best epoch by it. Here it is the test split,
    and validation rows are drawn from ``train.txt``, as for any set without them; beside a ``test.txt`` it
    is what it is called.

    *Labels* are counted from 0 in the first of these layouts, where 255 does not count, and from 1 in the
    other, where 0 and 255 do not (both deduced from the official code, unverified). The last one is
    frequent, so if 40 occurs in one of 64 maps they are counted from 1.

    *Depth* is taken for metres times 5,000, as the official code divides by that (unverified), of which 0 is
    unknown. It was published before its white border was cut off, as that of photographs and labels was: of
    what is larger than the labels (or the photograph, without them) the middle is read, as the official code
    does.

    Data: Silberman et al., 2012, doi:10.1007/978-3-642-33715-4_54.

    Args:
        folder: Of the set.
        lists: Holds ``train.txt`` and ``val.txt``, which come with the official code; by default the folder.
        first: Number of the first label, where it is not to be told by the maps.

    Raises:
        DataError: no lists, one that is not of the format, or neither depth nor HHA.
    """
    folder = Path(folder)
    scenes, notes = _scenes(folder, folder if lists is None else Path(lists))
    masks, photographs = paths_of(scenes, LABEL, folder), paths_of(scenes, "rgb", folder)
    arrays: dict[str, Files] = {"rgb": Image(items=photographs)}
    for name, whole in _depths(folder, scenes).items():
        arrays[name] = _registered(whole, masks, photographs)
        if larger := sum(isinstance(item, PicturePart) for item in arrays[name].items):
            notes.append(f"of {larger:,} in {name} that are larger than their labels, the middle is read")
    if first is None:
        first, why = _told(masks)
        notes.append(f"labels: counted from {first}, as 40 {why}; otherwise say first to read_nyudv2")
    return scene_source(
        "nyudv2",
        folder,
        scenes,
        arrays=arrays,
        form=_FORMS[first],
        published=_PUBLISHED if all(scene.split != "valid" for scene in scenes) else None,
        notes=notes,
    )


_FORMS = {
    0: LabelFormat(names=CLASSES),
    1: LabelFormat(names=CLASSES, numbers=tuple(range(1, len(CLASSES) + 1)), ignored=(0, 255)),
}


def _scenes(folder: Path, lists: Path) -> tuple[list[Scene], list[str]]:
    files = {"train": "train.txt", "valid": "val.txt", "test": "test.txt"}
    there = {split: name for split, name in files.items() if (lists / name).is_file()}
    notes = []
    if "test" not in there and "valid" in there:
        there["test"] = there.pop("valid")
        notes.append(
            "splits: val.txt is the test split; papers also choose by it, here validation rows are drawn "
            "from train.txt"
        )
    if not {"train", "test"} <= there.keys():
        raise DataError(
            f"{folder.name} must come with the lists train.txt and val.txt, got "
            f"{', '.join(there.values()) or 'neither'}. Put those of the official code into the folder, or "
            "give lists."
        )
    scenes = [
        _scene(lists / name, split, names)
        for split, name in there.items()
        for names in read_list(lists / name)
    ]
    return scenes, notes


def _scene(path: Path, split: str, names: Sequence[str]) -> Scene:
    if len(names) != 3:
        raise DataError(
            f"{path.name} must have lines such as rgb/000003.png, masks/000003.png and depth/000003.png with "
            f"tabs between, got {' '.join(names)!r}."
        )
    rgb, mask, depth = names
    return Scene(id=Path(rgb).stem, split=split, files={"rgb": rgb, LABEL: mask, "depth": depth})


def _depths(folder: Path, scenes: Sequence[Scene]) -> dict[str, Files]:
    """Depth and HHA pictures, whichever is there."""
    depth = paths_of(scenes, "depth", folder)
    found: dict[str, Files] = {}
    if (folder / "depth").is_dir():
        found["depth"] = Map(items=depth, form=_METRES)
    if (folder / "HHA").is_dir():
        found["hha"] = Image(items=as_objects([folder / "HHA" / path.name for path in depth]))
    if not found:
        raise DataError(f"{folder.name} must hold depth or HHA, got neither.")
    return found


def _registered(modality: Files, *others: NDArray[np.object_]) -> Files:
    """The same, of which the middle is read where it is larger than the first of the others that is there."""
    with ThreadPoolExecutor() as threads:
        sizes = threads.map(_size, *others)
        return replace(modality, items=as_objects([*threads.map(_middle, modality.items, sizes)]))


def _size(*paths: Path) -> tuple[int, int] | None:
    for path in paths:
        with suppress(DataError):  # told when it is read
            return picture_head(path)[1]
    return None


def _middle(path: Path, size: tuple[int, int] | None) -> Path | PicturePart:
    own = _size(path)
    larger = own is not None and size is not None and own != size and own[0] >= size[0] and own[1] >= size[1]
    return PicturePart(path, size=size) if larger else path


def _told(masks: NDArray[np.object_]) -> tuple[Literal[0, 1], str]:
    """What labels are counted from, and where 40 occurs."""
    shown = masks[:: max(1, len(masks) // _LOOKED_AT)]
    for path in shown:
        try:
            if (map_numbers(path, by_number=True) == len(CLASSES)).any():
                return 1, f"occurs in {path.name}"
        except DataError:
            continue
    return 0, f"occurs in none of {len(shown):,} maps"
