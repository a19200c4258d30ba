"""Pictures that a model made, as files."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fuseloom.data import Dataset
from fuseloom.data.grid import Grid
from fuseloom.data.picture_files import picture_bytes
from fuseloom.errors import OptionError
from fuseloom.tasks.translation import Translation
from fuseloom.train.files import reporting, write_whole
from fuseloom.train.masks import file_names, own_sides
from fuseloom.train.saved import SavedModel

__all__ = ["write_pictures"]


def write_pictures(
    folder: Path, saved: SavedModel, dataset: Dataset, predictions: NDArray[np.floating]
) -> int:
    """Write what a model made of each row, named after it and as large as its first picture or map.

    What was learnt from pictures is written as ``.png``; what was learnt from maps of numbers as ``.npy``, in
    the numbers of those maps, ``[H, W]`` or ``[H, W, C]``.

    Args:
        folder: Made where it is not there.
        saved: The model, of a task that makes pictures.
        dataset: The rows.
        predictions: ``[N, C, H, W]`` from -1 to 1.

    Returns:
        How many were written.

    Raises:
        MissingExtraError: Pillow is not installed.
        OptionError: the model is of another task.
        RunError: the folder cannot be written to.
    """
    task = saved.task
    if not isinstance(task, Translation):
        raise OptionError(f"pictures must be of a model that makes them, got one for {task.name}.")
    is_picture = saved.schema.target_kind == "image"
    with reporting(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for row, name in enumerate(file_names(dataset)):
            numbers = task.numbers(predictions[row]).transpose(1, 2, 0)
            height, width = own_sides(dataset, row, numbers.shape)
            grid = Grid(height=height, width=width, squash=True)
            if is_picture:
                write_whole(folder / f"{name}.png", picture_bytes(grid.picture(_bytes(numbers))))
            else:
                places = np.ix_(*grid.places(*numbers.shape[:2]))
                write_whole(folder / f"{name}.npy", _npy(numbers[places]))
    return len(predictions)


def _bytes(numbers: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(np.round(numbers), 0, 255).astype(np.uint8)


def _npy(numbers: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    np.save(file, numbers[..., 0] if numbers.shape[-1] == 1 else numbers)
    return file.getvalue()
