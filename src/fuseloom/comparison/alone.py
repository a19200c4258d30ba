"""The models of one modality alone that a comparison keeps: what a fusion is looked at beside."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.errors import RunError
from fuseloom.train.fit import exact_outputs
from fuseloom.train.saved import SavedModel
from fuseloom.types import Batch

__all__ = ["alone_folder", "predict_alone"]

Floats = NDArray[np.floating[Any]]


def alone_folder(run: Path, modality: str) -> Path:
    """Where the run folder of a comparison keeps the model of a modality alone."""
    return run / "alone" / modality


def predict_alone(run: Path, saved: SavedModel, rows: Batch) -> dict[str, Floats]:
    """Modality -> predictions for rows by the model of it alone, for those that the run keeps.

    Args:
        run: Folder of a comparison, or any other, which keeps none.
        saved: The model that the run recommends.
        rows: As it encodes them.

    Raises:
        RunError: a model is damaged, or of another run.
    """
    found: dict[str, Floats] = {}
    for name in rows.inputs:
        folder = alone_folder(run, name)
        if not folder.is_dir():
            continue
        own = SavedModel.load(folder)
        _check_same_run(own, saved, name, folder)
        masks = {name: rows.masks[name]} if name in rows.masks else {}
        outputs = exact_outputs(own.model, Batch(inputs={name: rows.inputs[name]}, masks=masks))
        found[name] = own.task.predict(outputs)
    return found


def _check_same_run(own: SavedModel, saved: SavedModel, name: str, folder: Path) -> None:
    reads, other = own.preprocessors.get(name), saved.preprocessors[name]
    same = reads is not None and reads.state() == other.state() and own.task.state() == saved.task.state()
    if not same:
        raise RunError(
            f"{folder} must be of the run it stands in, got a model that was trained on other data. "
            "Remove it, or compare again."
        )
