"""The set of MFNet: which of nine things is at each pixel of a street, from a photograph and its warmth."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Image, Map
from fuseloom.data.label_maps import LabelFormat
from fuseloom.data.media import PicturePart, picture_head
from fuseloom.data.scene_lists import LABEL, Scene, as_objects, first_line, paths_of, read_list, scene_source
from fuseloom.data.source import Source
from fuseloom.errors import DataError

__all__ = ["FILES", "is_mfnet", "read_mfnet"]

FILES = ("train.txt", "test.txt", "images", "labels")
"""What the folder of the set holds; instead of ``images`` a folder each of photographs and of warmth."""

_LISTS = {"train": "train.txt", "valid": "val.txt", "test": "test.txt"}
_PHOTOGRAPHS = ("images", "rgb", "RGB")
_THERMAL = ("ther", "thermal", "Thermal")
_LABELS = ("labels", "label", "Label")
_FORM = LabelFormat(names=tuple(map(str, range(9))))
_NAME = re.compile(r"\d{5}([DN])(_flip)?")
_TIMES = {"D": "day", "N": "night"}
_COLOUR, _WARMTH = (0, 1, 2), (3,)


def is_mfnet(folder: Path) -> bool:
    """Whether a folder is the set, told by its list."""
    return _NAME.fullmatch(first_line(folder / "train.txt")) is not None and (
        _first_of(folder, _LABELS) is not None
    )


def read_mfnet(folder: Path | str) -> Source:
    """Read photographs, warmth and labels as published, or with a folder each for photographs and warmth.

    ``images/00001D.png`` has four channels, of which the last is ``thermal``. Or photographs are in ``rgb``
    or ``RGB`` and warmth is in ``ther``, ``thermal`` or ``Thermal``, in files of one channel, or as the
    fourth one. ``labels/00001D.png`` (or ``Label``) are labels. ``train.txt``, ``val.txt`` and ``test.txt``
    have a name per line. Names with ``_flip`` are mirrored copies, which are not read: ``fit.augment``
    mirrors. The set has 1,569 scenes, 820 by day and 749 at night, as published; the label ``time`` says
    which. A scene that lacks a file is set aside.

    *Splits* are the lists; where ``val.txt`` is missing, validation rows are drawn from those of training.

    *Labels* are 0 to 8 and called by their numbers. 0, which nobody labelled, counts as a class, as in the
    scores that are published; 255 does not count.

    Data: Ha et al., 2017, doi:10.1109/IROS.2017.8206396.

    Args:
        folder: Of the set.

    Raises:
        DataError: a list or folder is missing, or a name stands in two lists.
    """
    folder = Path(folder)
    names = {split: _listed(folder / name) for split, name in _LISTS.items() if (folder / name).is_file()}
    photographs, labels = (_first_of(folder, found) for found in (_PHOTOGRAPHS, _LABELS))
    if not {"train", "test"} <= names.keys() or photographs is None or labels is None:
        raise DataError(
            f"{folder.name} must hold train.txt, test.txt, images and labels, got "
            f"{', '.join(sorted(path.name for path in folder.glob('*'))[:8]) or 'nothing'}."
        )
    thermal = _first_of(folder, _THERMAL)
    scenes = [
        Scene(
            id=name,
            split=split,
            files={
                "rgb": f"{photographs}/{name}.png",
                "thermal": f"{thermal or photographs}/{name}.png",
                LABEL: f"{labels}/{name}.png",
            },
        )
        for split, found in names.items()
        for name in found
        if not name.endswith("_flip")
    ]
    mirrored = sum(map(len, names.values())) - len(scenes)
    items = {
        what: _parts(paths_of(scenes, what, folder), channels, sure=thermal is None)
        for what, channels in (("rgb", _COLOUR), ("thermal", _WARMTH))
    }
    source = scene_source(
        "mfnet",
        folder,
        scenes,
        arrays={"rgb": Image(items=items["rgb"]), "thermal": Map(items=items["thermal"])},
        form=_FORM,
        notes=(f"left out: {mirrored:,} mirrored copies (_flip)",) if mirrored else (),
    )
    return replace(
        source, labels={**source.labels, "time": as_objects([_time(scene.id) for scene in scenes])}
    )


def _first_of(folder: Path, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if (folder / name).is_dir()), None)


def _listed(path: Path) -> list[str]:
    names = read_list(path)
    if wrong := [line for line in names if len(line) != 1]:
        raise DataError(
            f"{path.name} must have a name such as 00001D in each line, got {' '.join(wrong[0])!r}."
        )
    return [name for (name,) in names]


def _parts(paths: NDArray[np.object_], channels: tuple[int, ...], *, sure: bool) -> NDArray[np.object_]:
    """These channels of each file: always, or where it has four."""
    if sure:
        return as_objects([PicturePart(path, channels=channels) for path in paths])
    with ThreadPoolExecutor() as threads:
        four = [*threads.map(_has_four, paths)]
    return as_objects(
        [PicturePart(path, channels=channels) if has else path for path, has in zip(paths, four, strict=True)]
    )


def _has_four(path: Path) -> bool:
    try:
        return picture_head(path)[0] == "RGBA"
    except DataError:
        return False  # told when it is read


def _time(name: str) -> str:
    found = _NAME.fullmatch(name)
    return "unknown" if found is None else _TIMES[found[1]]
