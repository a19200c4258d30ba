"""Taskonomy's sample building: the same views as photographs, normals, depth, edges and more."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fuseloom.data.dataset import Files, Image, Map
from fuseloom.data.maps import MapFormat
from fuseloom.data.scene_lists import Scene, as_objects, paths_of, read_list, scene_source
from fuseloom.data.source import Source
from fuseloom.errors import DataError

__all__ = ["DOMAINS", "FILES", "is_taskonomy", "read_taskonomy"]

FILES = ("train_domain.txt", "val_domain.txt", "rgb", "normal", "depth_euclidean", "edge_texture")
"""What the folder of the set holds; any of ``DOMAINS``."""

_DISTANCE = MapFormat(scale=1 / 512, unknown=(2**16 - 1,))
_NUMBERS = MapFormat()

DOMAINS: Mapping[str, MapFormat | None] = {
    "rgb": None,
    "normal": None,
    "reshading": None,
    "depth_euclidean": _DISTANCE,
    "depth_zbuffer": _DISTANCE,
    "principal_curvature": None,
    "edge_occlusion": _NUMBERS,
    "edge_texture": _NUMBERS,
    "segment_unsup2d": None,
    "segment_unsup25d": None,
}
"""The ten that CEN and TokenFusion translate between -> what numbers of 16 bits mean; others are pictures."""

_VIEW = re.compile(r"point_(\d+)_view_(\d+)_domain_(\w+)\.png")
_LISTS = {"train": "train_domain.txt", "test": "val_domain.txt"}
_SCORED = (
    "splits: papers also choose by val_domain.txt; here validation rows are drawn from those of training"
)
_PUBLISHED = {"train": 1000, "test": 500}


def is_taskonomy(folder: Path) -> bool:
    """Whether a folder is the set, told by what its photographs, or its list, are called."""
    listed = (folder / _LISTS["train"]).is_file()
    return (folder / "rgb").is_dir() and (
        listed or next((folder / "rgb").glob("point_*_view_*_domain_rgb.png"), None) is not None
    )


def read_taskonomy(folder: Path | str, *, lists: Path | str | None = None) -> Source:
    """Read views of the building in the layout that CEN and TokenFusion translate between.

    ``<domain>/point_<p>_view_<v>_domain_<domain>.png``; each of ``DOMAINS`` whose folder is there is a
    modality. Depth is in metres (16 bits, 512 to the metre; the largest number, 128 m, counts as unknown,
    which is deduced), edges are in the numbers of their files. ``train_domain.txt`` and ``val_domain.txt``
    have 1,000 and 500 lines, as published, with ``{domain}`` in them for each domain; without them all views
    are read, and split as in any other set. The label ``point`` is what no two splits should share.

    No domain is the target by itself: name the one that is to be made of others,
    ``ReadOptions(target="rgb")``.

    *Splits*: papers test on ``val_domain.txt`` and also choose their best epoch by it. Here it is the test
    split, and validation rows are drawn from those of training.

    Data: Zamir et al., 2018, arXiv:1804.08328.

    Args:
        folder: Of the set.
        lists: Holds the two lists, which come with the official code; by default the folder.

    Raises:
        DataError: fewer than two domains, one list without the other, or one that is not of the format.
    """
    folder = Path(folder)
    there = [name for name in DOMAINS if (folder / name).is_dir()]
    if len(there) < 2:
        raise DataError(
            f"{folder.name} must hold two or more of {', '.join(DOMAINS)}, got "
            f"{there[0] if there else 'none'}."
        )
    home = folder if lists is None else Path(lists)
    found = [name for name in _LISTS.values() if (home / name).is_file()]
    if len(found) == 1 or (lists is not None and not found):
        raise DataError(
            f"{home.name} must hold {' and '.join(_LISTS.values())}, got {found[0] if found else 'neither'}."
        )
    scenes = (
        [
            _listed(home / name, split, names)
            for split, name in _LISTS.items()
            for names in read_list(home / name)
        ]
        if found
        else [_view(name, "", "the folder rgb") for name in sorted(_rgb(folder))]
    )
    views = [_VIEW.fullmatch(Path(scene.files["rgb"]).name) for scene in scenes]
    source = scene_source(
        "taskonomy",
        folder,
        scenes,
        arrays={name: _modality(folder, scenes, name) for name in there},
        form=None,
        published=_PUBLISHED,
        notes=(_SCORED,) if found else (),
    )
    points = {
        name: as_objects([one[group] for one in views if one is not None])
        for group, name in enumerate(("point", "view"), start=1)
    }
    return replace(source, labels={**source.labels, **points}, grouping="point")


def _rgb(folder: Path) -> list[str]:
    return [path.name for path in (folder / "rgb").glob("point_*_view_*_domain_rgb.png")]


def _modality(folder: Path, scenes: list[Scene], name: str) -> Files:
    items, form = paths_of(scenes, name, folder), DOMAINS[name]
    return Image(items=items) if form is None else Map(items=items, form=form)


def _listed(path: Path, split: str, names: tuple[str, ...]) -> Scene:
    first, _, name = names[0].partition("/")
    if len(names) > 1 or first != "{domain}":
        raise DataError(
            f"{path.name} must have lines such as {{domain}}/point_0_view_1_domain_{{domain}}.png, got "
            f"{' '.join(names)!r}."
        )
    return _view(name.replace("{domain}", "rgb"), split, path.name)


def _view(photograph: str, split: str, where: str) -> Scene:
    found = _VIEW.fullmatch(photograph)
    if found is None:
        raise DataError(f"{where} must name views such as point_0_view_1_domain_rgb.png, got {photograph!r}.")
    view = f"point_{found[1]}_view_{found[2]}"
    return Scene(id=view, split=split, files={name: f"{name}/{view}_domain_{name}.png" for name in DOMAINS})
