"""Pictures that belong to sentences: which folder they lie in, and which are missing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Image
from fuseloom.data.files import checked
from fuseloom.data.media import is_image_name
from fuseloom.data.ragged import Problems
from fuseloom.errors import DataError

__all__ = ["Pictures", "find_pictures", "picture_folders"]

_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Pictures of rows, and those that could not be had."""

    modality: Image | None
    """None where there is no picture at all."""
    missing: Mapping[str, str]
    """Id of a row -> which file of it is not there or cannot be read, and why."""
    notes: tuple[str, ...]


def picture_folders(root: Path, name: str, images: Path | str | None) -> list[Path]:
    """Where pictures may lie: the given folder, or the usual ones in and beside that of the text.

    Args:
        root: Of the text.
        name: Of the set.
        images: What a person says.

    Raises:
        DataError: the given one is not there.
    """
    if images is not None:
        if not Path(images).is_dir():
            raise DataError(f"images must be a folder that is there, got {str(images)!r}.")
        return [Path(images)]
    home = root.resolve()
    names = dict.fromkeys((f"{name}_images", f"{home.name}_images"))
    return [*(root / one for one in (*names, "images")), root, *(home.parent / one for one in names)]


def find_pictures(names: Sequence[str | None], ids: Sequence[str], folders: Sequence[Path]) -> Pictures:
    """Pictures by their names, from the first folder that has one of them; each is read once.

    Args:
        names: Of each row: a file's name without its ending, a path, or none.
        ids: Of the rows.
        folders: Where to look.
    """
    wanted = {row: name for row, name in enumerate(names) if name is not None}
    if not wanted:
        return Pictures(modality=None, missing={}, notes=())
    items = np.full(len(names), None, dtype=object)
    for folder in folders:
        if found := _files(wanted, folder):
            items[list(found)] = list(found.values())
            break
    problems = _problems(items, wanted)
    items[list(problems)] = None
    shown = {row: name if is_image_name(name) else f"{name}.jpg" for row, name in wanted.items()}
    missing = {ids[row]: f"{shown[row]}: {problems[row]}" for row in sorted(problems)}
    if len(missing) < len(wanted):
        return Pictures(modality=Image(items=items), missing=missing, notes=_note(missing, len(wanted)))
    looked = ", ".join(dict.fromkeys(str(folder) for folder in folders if folder.is_dir()))
    note = f"image: none of {len(wanted):,} pictures can be read, such as {next(iter(missing.values()))}"
    return Pictures(
        modality=None, missing=missing, notes=(f"{note} (in {looked}); text is the only modality",)
    )


def _files(wanted: Mapping[int, str], folder: Path) -> dict[int, Path]:
    """Row -> its file, of those in the folder."""
    if not folder.is_dir():
        return {}
    there = sorted(file for file in folder.iterdir() if is_image_name(file.name))
    by_stem = {file.stem: file for file in [*there, *(file for file in there if file.suffix == ".jpg")]}
    found = {row: by_stem.get(name, folder / name) for row, name in wanted.items()}
    return {row: file for row, file in found.items() if file.is_file()}


def _problems(items: NDArray[np.object_], wanted: Iterable[int]) -> Problems:
    """Why pictures that were wanted cannot be had; each that is there is read."""
    absent: Problems = {row: "no such file" for row in wanted if items[row] is None}
    there = [row for row in wanted if items[row] is not None]
    unreadable: Problems = {}
    checked(Image(items=items[there]), "image", unreadable)
    reasons = {there[place]: why.split(": ", 2)[2] for place, why in unreadable.items()}
    return absent | reasons


def _note(missing: Mapping[str, str], wanted: int) -> tuple[str, ...]:
    if not missing:
        return ()
    first = ", ".join([*missing.values()][:_SHOWN])
    more = f" and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else ""
    return (f"image: {len(missing):,} of {wanted:,} pictures are missing in their rows: {first}{more}",)
