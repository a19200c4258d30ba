"""Predicted labels of pixels as pictures that a person and a program can read."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.data import Dataset
from fuseloom.data.dataset import Image, Map
from fuseloom.data.grid import Grid
from fuseloom.data.maps import read_map
from fuseloom.data.media import read_image, read_item
from fuseloom.data.picture_files import picture_bytes
from fuseloom.errors import OptionError
from fuseloom.tasks import Task
from fuseloom.tasks.segmentation import Segmentation
from fuseloom.train.files import reporting, write_whole

__all__ = ["file_names", "label_colours", "own_sides", "write_masks"]

_TABLE = "labels.csv"


def write_masks(folder: Path, task: Task, dataset: Dataset, predictions: NDArray[Any]) -> int:
    """Write a PNG file per row, whose numbers are labels and whose palette shows them in colours.

    ``labels.csv`` beside them says what each number is called and its colour, in the form that
    `fuseloom.data.label_maps.read_label_format` reads.

    Args:
        folder: Made where it is not there.
        task: Of labels at pixels.
        dataset: The rows; each mask is as large as the first picture or map that its row has.
        predictions: Labels ``[N, H, W]``.

    Returns:
        How many were written.

    Raises:
        MissingExtraError: Pillow is not installed.
        OptionError: the task is another one.
        RunError: the folder cannot be written to.
    """
    if not isinstance(task, Segmentation):
        raise OptionError(f"masks must be of a model that labels pixels, got one for {task.name}.")
    colours = label_colours(len(task.labels))
    with reporting(folder):
        folder.mkdir(parents=True, exist_ok=True)
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["label", "name", "color"])
        for place, (name, colour) in enumerate(zip(task.labels, colours, strict=True)):
            writer.writerow([place, name, "#" + bytes(colour.tolist()).hex()])
        write_whole(folder / _TABLE, table.getvalue())
        for row, (name, labels) in enumerate(zip(file_names(dataset), predictions, strict=True)):
            height, width = own_sides(dataset, row, labels.shape)
            places = Grid(height=height, width=width, squash=True).places(*labels.shape)
            write_whole(folder / f"{name}.png", picture_bytes(labels[np.ix_(*places)], palette=colours))
    return len(predictions)


def label_colours(count: int) -> NDArray[np.uint8]:
    """Red, green and blue of each label ``[K, 3]``, far apart for the first ones.

    Example:
        >>> label_colours(2).tolist()
        [[205, 71, 71], [71, 205, 110]]
    """
    import colorsys

    turn = 0.381966  # of the golden angle, so that no hue comes back
    found = [
        colorsys.hls_to_rgb(place * turn % 1, (0.54, 0.36, 0.72)[place // 8 % 3], 0.57)
        for place in range(count)
    ]
    return np.round(255 * np.array(found).reshape(-1, 3)).astype(np.uint8)


def file_names(dataset: Dataset) -> list[str]:
    """Ids as names of files: what has no place in one becomes ``_``, and one that is taken gets a number."""
    names: dict[str, int] = {}
    for row, one in enumerate(dataset.ids):
        name = "".join(mark if mark.isalnum() or mark in "-_." else "_" for mark in one).strip(".") or "_"
        names[name if name not in names else f"{name}_{row}"] = row
    return [*names]


def own_sides(dataset: Dataset, row: int, default: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the first picture or map that a row has."""
    for modality in dataset.modalities.values():
        if isinstance(modality, Image) and (item := modality.items[row]) is not None:
            pixels = read_item(read_image, item)
            return pixels.shape[0], pixels.shape[1]
        if isinstance(modality, Map) and (item := modality.items[row]) is not None:
            known = read_item(read_map, item)[1]
            return known.shape[0], known.shape[1]
    return default[0], default[1]
