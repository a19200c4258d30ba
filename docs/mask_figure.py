"""Draws what a trained model makes of test scenes: photograph, depth, what is there, and what was found.

python docs/mask_figure.py RUN FOLDER docs/segmentation.png
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fuseloom.data import read_rows
from fuseloom.data.maps import read_map
from fuseloom.data.media import read_image
from fuseloom.train.masks import label_colours
from fuseloom.train.saved import SavedModel

__all__ = ["main"]

_SHOWN, _SIDE, _GAP = 6, 128, 6
_DARK, _NEAR = 40, 2.0


def main(run: Path, folder: Path, out: Path) -> None:
    """One column for each scene."""
    saved = SavedModel.of_run(run)
    rows = read_rows(str(folder), saved.schema)
    assert rows.split is not None
    assert rows.target is not None
    chosen = np.flatnonzero(rows.split == "test")[:_SHOWN]
    taken = {name: modality.take(chosen) for name, modality in rows.modalities.items()}
    few = replace(rows, modalities=taken, target=rows.target[chosen], ids=[rows.ids[row] for row in chosen])
    found, true = saved.predictions(few), saved.task.encode(few.target)
    colours = np.vstack([label_colours(saved.task.num_outputs), np.full((256, 3), _DARK, np.uint8)])
    columns = [
        [
            read_image(few.modalities["rgb"].items[row]),
            _grey(few.modalities["depth"].items[row]),
            colours[true[row]],
            colours[found[row]],
        ]
        for row in range(len(chosen))
    ]
    Image.fromarray(_grid(columns)).save(out, optimize=True)


def _grey(item: Any) -> NDArray[np.uint8]:
    """Near is bright; what is not known is dark."""
    depth, _ = read_map(item)
    metres = depth[0] / 1000
    shown = np.where(metres > 0, 255 / (1 + metres / _NEAR), _DARK)
    return np.repeat(shown.astype(np.uint8)[..., None], 3, axis=-1)


def _grid(columns: list[list[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    step = _SIDE + _GAP
    whole = np.full((len(columns[0]) * step - _GAP, len(columns) * step - _GAP, 3), 255, dtype=np.uint8)
    for column, pictures in enumerate(columns):
        for row, pixels in enumerate(pictures):
            large = Image.fromarray(pixels.astype(np.uint8)).resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
            whole[row * step : row * step + _SIDE, column * step : column * step + _SIDE] = np.asarray(large)
    return whole


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
