"""Texts that are longer than a model of positions reads, in windows that overlap."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fuseloom.data import Preprocessor, Text
from fuseloom.data.dataset import Modality
from fuseloom.tasks import Task
from fuseloom.train.fit import exact_outputs
from fuseloom.types import Batch, Selection

__all__ = ["exact_predictions"]

_AT_ONCE = 512
_SCENES_AT_ONCE = 32


def exact_predictions(
    model: nn.Module, task: Task, rows: Batch | Selection, texts: Mapping[str, tuple[Modality, Preprocessor]]
) -> NDArray[Any]:
    """Predictions of all rows, in the form of `Task.predict`; of long texts by windows, so that none is cut.

    Each window is read with what the row has besides. A row whose text is read at once is predicted as it
    is without the others.

    Args:
        model: In evaluation mode.
        task: Says what outputs mean.
        rows: Inputs and masks.
        texts: Name of the modality at whose positions the task predicts -> its texts, and what encodes them;
            none, where it predicts rows.
    """
    predictions = _of_rows(model, task, rows)
    for name, (text, preprocessor) in texts.items():
        found = preprocessor.windows(text)
        if not found:
            continue
        assert isinstance(text, Text)
        owners = np.repeat([*found], [len(windows.parts) for windows in found.values()])
        split = {row: str(text.values[row]).split(" ") for row in found}
        parts = [(row, part) for row, windows in found.items() for part in windows.parts]
        read = Text(values=_objects([" ".join(split[row][first:behind]) for row, (first, behind) in parts]))
        of_windows = [predictions[:0]]
        for at in range(0, len(parts), _AT_ONCE):
            some = slice(at, at + _AT_ONCE)
            values, mask = preprocessor.apply(read.take(some))
            batch = rows.take(torch.from_numpy(owners[some]))
            inputs = {**batch.inputs, name: torch.from_numpy(values)}
            masks = {**batch.masks, name: torch.from_numpy(mask)}
            outputs = exact_outputs(model, replace(batch, inputs=inputs, masks=masks))
            of_windows.append(task.predict(outputs))
        predictions = task.joined(
            predictions,
            np.concatenate(of_windows),
            {row: windows.parts for row, windows in found.items()},
            {row: windows.num_words for row, windows in found.items()},
        )
    return predictions


def _of_rows(model: nn.Module, task: Task, rows: Batch | Selection) -> NDArray[Any]:
    """Predictions of whole rows; of pixels some rows at a time, whose scores need more room than labels."""
    if not task.on_grid:
        return task.predict(exact_outputs(model, rows))
    starts = range(0, len(rows), _SCENES_AT_ONCE)
    parts = [rows.take(slice(start, start + _SCENES_AT_ONCE)) for start in starts]
    return np.concatenate([task.predict(exact_outputs(model, part)) for part in parts])


def _objects(texts: list[str]) -> NDArray[np.object_]:
    values = np.empty(len(texts), dtype=object)
    values[:] = texts
    return values
