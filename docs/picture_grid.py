"""Pictures of scenes side by side, a column for each."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fuseloom.data import Dataset, read_rows
from fuseloom.data.maps import read_map
from fuseloom.data.media import read_image
from fuseloom.train.saved import SavedModel

__all__ = ["first_of_test", "grid", "shown"]

_SHOWN = 6

_SIDE, _GAP = 128, 6
_DARK, _NEAR = 40, 2000.0
"""What is not known, and the distance in millimetres that is half as bright as the lens."""


def first_of_test(folder: Path, saved: SavedModel) -> Dataset:
    """The first test scenes of a folder, as a model reads them."""
    rows = read_rows(str(folder), saved.schema)
    assert rows.split is not None
    assert rows.target is not None
    chosen = np.flatnonzero(rows.split == "test")[:_SHOWN]
    taken = {name: modality.take(chosen) for name, modality in rows.modalities.items()}
    ids = [rows.ids[row] for row in chosen]
    return replace(rows, modalities=taken, target=rows.target[chosen], ids=ids)


def shown(item: Any, name: str) -> NDArray[np.uint8]:
    """A picture, or a map: of distances near is bright, and what is not known is dark."""
    numbers, _ = read_map(item)
    if len(numbers) > 1:
        return read_image(item)
    values = numbers[0]
    if name == "depth":
        values = np.where(values > 0, 255 / (1 + values / _NEAR), _DARK)
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=-1)


def grid(columns: list[list[NDArray[np.uint8]]]) -> Image.Image:
    """All pictures at one size, with gaps between them."""
    step = _SIDE + _GAP
    whole = np.full((len(columns[0]) * step - _GAP, len(columns) * step - _GAP, 3), 255, dtype=np.uint8)
    for column, pictures in enumerate(columns):
        for row, pixels in enumerate(pictures):
            large = Image.fromarray(pixels.astype(np.uint8)).resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
            whole[row * step : row * step + _SIDE, column * step : column * step + _SIDE] = np.asarray(large)
    return Image.fromarray(whole)
