"""The rows of a data set as the numbers that they hold, for what speaks of the data and of no model."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from fuseloom.comparison.evaluate import known_targets
from fuseloom.data import Dataset
from fuseloom.data.dataset import Embedding, Modality, Table
from fuseloom.errors import DataError, ModalityError
from fuseloom.tasks import Task
from fuseloom.types import Batch

__all__ = ["number_rows"]

_MOST_ROWS = 100_000
_CONTENTS = {
    "embedding": "steps of features",
    "text": "written text",
    "image": "pictures",
    "map": "maps of numbers",
    "audio": "recordings",
    "series": "steps in time",
}


def number_rows(dataset: Dataset, modalities: Iterable[str], task: Task, *, seed: int = 0) -> Batch:
    """Modalities of one number each in the units of the data, NaN where missing, and the encoded target.

    All rows whose target is known are taken, at most 100,000 of them: nothing is learnt here that would have
    to be tested on rows not seen.

    Args:
        dataset: With a target.
        modalities: Which of its modalities.
        task: Encodes the target.
        seed: Of the rows that are drawn where there are more.

    Raises:
        DataError: the data have no target.
        ModalityError: a modality is more than a number, or something else.

    Example:
        >>> from fuseloom.data import load
        >>> from fuseloom.tasks.regression import Regression
        >>> rows = number_rows(load("reviews"), ["critic"], Regression(0.0, 1.0))
        >>> len(rows), rows.inputs["critic"].sum().item()
        (300, 115.0)
    """
    if dataset.target is None:
        raise DataError("dataset must have a target, got none. Name it with --target.")
    places = np.flatnonzero(known_targets(dataset.target))
    if len(places) > _MOST_ROWS:
        drawn = np.random.default_rng(seed).choice(places, _MOST_ROWS, replace=False)
        places = np.sort(drawn)
    return Batch(
        inputs={
            name: torch.from_numpy(_numbers(name, dataset.modalities[name], places)) for name in modalities
        },
        target=torch.from_numpy(task.encode(dataset.target[places])),
    )


def _numbers(name: str, modality: Modality, places: NDArray[np.intp]) -> NDArray[np.float64]:
    """The one number of each of these rows, ``[N]``."""
    if isinstance(modality, Table) and len(modality.numbers) == 1 and not modality.categories:
        (column,) = modality.numbers.values()
        return np.array(column[places])
    if isinstance(modality, Embedding) and modality.values.shape[1:] == (1,):
        return np.where(modality.mask[places], modality.values[places, 0].astype(np.float64), np.nan)
    raise ModalityError(
        f"A regression needs modalities of one number per row, but {name!r} holds {_content(modality)}."
    )


def _content(modality: Modality) -> str:
    """What a row of a modality holds, in words."""
    if isinstance(modality, Table):
        counts = {"numbers": len(modality.numbers), "categories": len(modality.categories)}
        columns = [f"{n} column{'s' * (n > 1)} of {what}" for what, n in counts.items() if n]
        return " and ".join(columns)
    if isinstance(modality, Embedding) and modality.values.ndim == 2:
        return f"{modality.values.shape[1]} features"
    return _CONTENTS[modality.kind]
