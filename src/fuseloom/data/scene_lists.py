"""Scenes of published sets of maps: what lists name, and the source that files and labels become."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Modality
from fuseloom.data.files import file_bytes
from fuseloom.data.label_maps import LabelFormat
from fuseloom.data.source import Source
from fuseloom.errors import DataError

__all__ = ["LABEL", "Scene", "as_objects", "first_line", "paths_of", "read_list", "scene_source"]

LABEL = "label"
"""What the map of labels is called among the files of a scene, and the target."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One row: the maps of a scene."""

    id: str
    split: str
    """Empty where no list gives one."""
    files: Mapping[str, str]
    """What is seen -> its file, from the folder of the set."""


def first_line(path: Path) -> str:
    """The first line of a list, empty where there is no such file."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.readline(1000).decode("utf-8-sig", "replace").strip()


def read_list(path: Path) -> list[tuple[str, ...]]:
    """Of each line the names between tabs or blanks; empty lines are left out.

    Raises:
        DataError: no text that can be read, or a name that leads out of the folder.
    """
    try:
        lines = file_bytes(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path.name} must be text in UTF-8, got another encoding.") from None
    found = []
    for number, line in enumerate(lines, start=1):
        names = tuple(line.split())
        if outside := [name for name in names if _leads_out(name)]:
            raise DataError(f"{path.name}:{number} must name files in the folder, got {outside[0]!r}.")
        if names:
            found.append(names)
    return found


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or ":" in path.parts[0]


def as_objects(values: Sequence[object]) -> NDArray[np.object_]:
    """The same as a column."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def paths_of(scenes: Sequence[Scene], what: str, folder: Path) -> NDArray[np.object_]:
    """The file of each scene that shows it."""
    return as_objects([folder / scene.files[what] for scene in scenes])


def scene_source(
    name: str,
    folder: Path,
    scenes: Sequence[Scene],
    *,
    arrays: Mapping[str, Modality],
    form: LabelFormat | None,
    published: Mapping[str, int] | None = None,
    notes: Sequence[str] = (),
) -> Source:
    """The source of scenes: their maps are modalities, and the target is what is at each pixel.

    Args:
        name: Of the set.
        folder: Of its files.
        scenes: Its rows.
        arrays: Modalities.
        form: What the numbers in maps of labels mean; without it there is no target.
        published: Split -> how many rows papers have.
        notes: What the reader did.

    Raises:
        DataError: no scene, or one that stands twice.
    """
    if not scenes:
        raise DataError(f"{folder.name} must hold a scene, got none.")
    ids = [scene.id for scene in scenes]
    if twice := sorted(one for one, count in Counter(ids).items() if count > 1):
        raise DataError(f"{folder.name} must name each scene once, got {twice[0]!r} again.")
    splits = [scene.split for scene in scenes]
    split = {"split": as_objects(splits)} if all(splits) else {}
    target = {} if form is None else {LABEL: as_objects([scene.files[LABEL] for scene in scenes])}
    counted = _unlike(Counter(splits), published) if published is not None and split else ()
    return Source(
        name=name,
        source_format=name,
        ids=ids,
        places=[f"{name} {one}" for one in ids],
        arrays=dict(arrays),
        labels={**split, **target},
        root=folder,
        target=None if form is None else LABEL,
        target_kind=None if form is None else "labels",
        label_format=form,
        split_column="split" if split else None,
        notes=(*notes, *counted),
    )


def _unlike(counts: Mapping[str, int], published: Mapping[str, int]) -> tuple[str, ...]:
    """A note where splits are not as large as the published ones."""
    if dict(counts) == dict(published):
        return ()
    here, there = (
        ", ".join(f"{split} {one.get(split, 0):,}" for split in published) for one in (counts, published)
    )
    return (f"splits: {here} rows where papers have {there}, so scores compare with no paper's",)
