"""DeLiVER: which of 25 things is at each pixel of a street, from four sensors, some of which fail."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from fuseloom.data.dataset import Image, SetAside
from fuseloom.data.label_maps import LabelFormat
from fuseloom.data.scene_lists import LABEL, Scene, as_objects, paths_of, scene_source
from fuseloom.data.source import Source
from fuseloom.errors import DataError

__all__ = ["CLASSES", "FAILURES", "FILES", "WEATHERS", "is_deliver", "read_deliver"]

FILES = ("img", "hha", "event", "lidar", "semantic")
"""What the folder of the set holds."""

WEATHERS = ("cloud", "fog", "night", "rain", "sun")
FAILURES = ("motionblur", "overexposure", "underexposure", "lidarjitter", "eventlowres")
"""Of sensors: what the names of scenes end with."""

CLASSES = (
    "Building",
    "Fence",
    "Other",
    "Pedestrian",
    "Pole",
    "RoadLine",
    "Road",
    "SideWalk",
    "Vegetation",
    "Cars",
    "Wall",
    "TrafficSign",
    "Sky",
    "Ground",
    "Bridge",
    "RailTrack",
    "GroundRail",
    "TrafficLight",
    "Static",
    "Dynamic",
    "Water",
    "Terrain",
    "TwoWheeler",
    "Bus",
    "Truck",
)
"""What labels are called, in the order of their numbers."""

_MODALITIES = {"rgb": "img", "depth": "hha", "event": "event", "lidar": "lidar"}
"""Modality -> its folder."""
_SAID: Mapping[str, str] = {"img": "rgb", "hha": "depth"}
"""Folder -> what names of files in it say, where that is another word."""
_SPLITS = {"train": "train", "val": "valid", "test": "test"}
_PUBLISHED = {"train": 3983, "valid": 2005, "test": 1897}
_FORM = LabelFormat(names=CLASSES, numbers=tuple(range(1, len(CLASSES) + 1)), ignored=(0, 255), channel=0)
_SCORED = "splits: papers choose by the validation rows and score them; here the test rows are scored"
_PLACE = re.compile(rf"_({'|'.join(FAILURES)})$")


def is_deliver(folder: Path) -> bool:
    """Whether a folder is the set: it has labels, and photographs by weather."""
    return (folder / "semantic").is_dir() and any((folder / "img" / one).is_dir() for one in WEATHERS)


def read_deliver(folder: Path | str) -> Source:
    """Read four modalities and labels in the layout of CMNeXt, which GeminiFusion reads.

    ``img/cloud/test/MAP_10_point102/045050_rgb_front.png`` is a photograph; beside ``img``, the folders
    ``hha`` (``045050_depth_front.png``), ``event``, ``lidar`` and ``semantic`` hold the rest in the same way.
    Depth is read from ``hha``, as the official code does, not from the folder ``depth``. There are 3,983,
    2,005 and 1,897 scenes of 1042 x 1042 pixels, as published; events of a failing sensor have fewer. A
    folder of a modality that is not there is left out, and a scene that lacks a file set aside.

    The labels ``weather`` (cloud, fog, night, rain, sun) and ``failure`` (motionblur, overexposure,
    underexposure, lidarjitter, eventlowres, or none) tell the conditions, and ``place`` what no two splits
    should share.

    *Splits* are the folders. Papers score the validation rows, by which they also choose their best epoch;
    here these choose, and the test rows are scored.

    *Labels* are the first channel, counted from 1; 0 and 255 do not count.

    Data: Zhang et al., 2023, arXiv:2303.01480.

    Args:
        folder: Of the set.

    Raises:
        DataError: no scene, or one modality at most.
    """
    folder = Path(folder)
    there = {name: home for name, home in _MODALITIES.items() if (folder / home).is_dir()}
    if len(there) < 2 or "rgb" not in there:
        raise DataError(
            f"{folder.name} must hold img and one or more of hha, event and lidar, got "
            f"{', '.join(there.values()) or 'none of them'}."
        )
    paths = [
        path
        for weather in WEATHERS
        for split in _SPLITS
        for path in sorted((folder / "img" / weather / split).glob("*/*.png"))
    ]
    scenes = [_scene(path.relative_to(folder)) for path in paths if _is_photograph(path)]
    if not scenes:
        raise DataError(
            f"{folder.name} must hold img/<weather>/<split>/<place>/<frame>_rgb_front.png, got none."
        )
    places = [Path(scene.files["rgb"]).parent.name for scene in scenes]
    failures = [_PLACE.search(place) for place in places]
    lacking = [
        f"{name}: left out, as there is no {home}" for name, home in _MODALITIES.items() if name not in there
    ]
    source = scene_source(
        "deliver",
        folder,
        scenes,
        arrays={name: Image(items=paths_of(scenes, name, folder)) for name in there},
        form=_FORM,
        published=_PUBLISHED,
        notes=(*lacking, _SCORED),
    )
    return replace(
        source,
        labels={
            **source.labels,
            "weather": as_objects([Path(scene.files["rgb"]).parts[1] for scene in scenes]),
            "failure": as_objects(["none" if found is None else found[1] for found in failures]),
            "place": as_objects([_PLACE.sub("", place) for place in places]),
        },
        grouping="place",
        set_aside=tuple(_strange(path for path in paths if not _is_photograph(path))),
    )


def _is_photograph(path: Path) -> bool:
    return path.stem.count("_rgb_") == 1


def _scene(photograph: Path) -> Scene:
    """The scene of a photograph, whose path is from the folder of the set."""
    _, weather, split, place, name = photograph.parts
    files = {
        what: f"{home}/{weather}/{split}/{place}/{name.replace('_rgb_', f'_{_SAID.get(home, home)}_')}"
        for what, home in {**_MODALITIES, LABEL: "semantic"}.items()
    }
    frame = name.partition("_rgb_")[0]
    return Scene(id=f"{weather}/{place}/{frame}", split=_SPLITS[split], files=files)


def _strange(paths: Iterator[Path]) -> Iterator[SetAside]:
    for path in paths:
        yield SetAside(
            where=f"deliver {path.parent.name}/{path.name}", reason="must be called <frame>_rgb_front.png"
        )
