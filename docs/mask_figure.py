"""Draws what a trained model makes of test scenes: photograph, depth, what is there, and what was found.

python docs/mask_figure.py RUN FOLDER docs/segmentation.png
"""

import sys
from pathlib import Path

import numpy as np
from picture_grid import first_of_test, grid, shown

from fuseloom.train.masks import label_colours
from fuseloom.train.saved import SavedModel

__all__ = ["main"]

_DARK = 40


def main(run: Path, folder: Path, out: Path) -> None:
    """One column for each scene."""
    saved = SavedModel.of_run(run)
    few = first_of_test(folder, saved)
    assert few.target is not None
    found, true = saved.predictions(few), saved.task.encode(few.target)
    colours = np.vstack([label_colours(saved.task.num_outputs), np.full((256, 3), _DARK, np.uint8)])
    columns = [
        [
            shown(few.modalities["rgb"].items[row], "rgb"),
            shown(few.modalities["depth"].items[row], "depth"),
            colours[true[row]],
            colours[found[row]],
        ]
        for row in range(len(few))
    ]
    grid(columns).save(out, optimize=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
