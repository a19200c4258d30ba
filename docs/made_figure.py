"""Draws what trained models make of test scenes: what they read, the real picture, and theirs.

python docs/made_figure.py FOLDER docs/translation.png RUN...
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from picture_grid import first_of_test, grid, shown

from fuseloom.tasks.translation import Translation
from fuseloom.train.saved import SavedModel

__all__ = ["main"]


def main(folder: Path, out: Path, *runs: Path) -> None:
    """One column for each scene: inputs of all models, the target, and what each model makes."""
    models = [SavedModel.of_run(run) for run in runs]
    read = [first_of_test(folder, one) for one in models]
    inputs = {name: one for rows in read for name, one in rows.modalities.items()}
    rows: list[list[NDArray[np.uint8]]] = [
        [shown(item, name) for item in one.items]  # type: ignore[union-attr]
        for name, one in inputs.items()
    ]
    first = models[0].task
    assert read[0].target is not None
    rows.append(_pictures(first, first.encode(read[0].target)))
    rows += [_pictures(one.task, one.predictions(few)) for one, few in zip(models, read, strict=True)]
    columns = [list(column) for column in zip(*rows, strict=True)]
    grid(columns).save(out, optimize=True)


def _pictures(task: Any, predictions: NDArray[Any]) -> list[NDArray[np.uint8]]:
    assert isinstance(task, Translation)
    return [
        np.clip(np.round(one), 0, 255).astype(np.uint8).transpose(1, 2, 0)
        for one in task.numbers(predictions)
    ]


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
