"""Train, valid and test: those of the source, completed where it has none."""

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Dataset
from fuseloom.errors import DataError

__all__ = ["make_splits"]

_SHARE = 0.2


def make_splits(dataset: Dataset, *, stratify: bool, seed: int) -> NDArray[np.str_]:
    """Name the split of each row.

    A split that the source gives is kept. Without test rows a fifth of the training rows become test, then
    without validation rows a fifth of the remaining become valid.

    Args:
        dataset: Rows with a target.
        stratify: Draw so that each class keeps its share; a class of a single row stays in training.
        seed: Of the draw.

    Raises:
        DataError: no training rows are given, or too few to draw from.
    """
    split = np.full(len(dataset), "train") if dataset.split is None else dataset.split.astype("<U5")
    if not np.any(split == "train"):
        raise DataError(f"{dataset.name} must have training rows, got splits {sorted(set(split.tolist()))}.")
    generator = np.random.default_rng(seed)
    classes = _classes(dataset, stratify)
    for name in ("test", "valid"):
        if not np.any(split == name):
            candidates = np.flatnonzero(split == "train")
            drawn = _draw(classes[candidates], generator)
            if len(drawn) == 0:
                raise DataError(
                    f"{dataset.name} must have enough rows for train, valid and test, got {len(dataset)}. "
                    "Give more rows (of a class that is to be predicted, at least 3), or a split column."
                )
            split[candidates[drawn]] = name
    return split


def _classes(dataset: Dataset, stratify: bool) -> NDArray[np.intp]:
    if not stratify or dataset.target is None:
        return np.zeros(len(dataset), dtype=np.intp)
    return np.unique(dataset.target, return_inverse=True)[1]


def _draw(classes: NDArray[np.intp], generator: np.random.Generator) -> NDArray[np.intp]:
    """Draw a fifth of the rows, in proportion to classes, and never more than half of a class."""
    order = generator.permutation(len(classes))
    place = np.empty(len(classes))
    for label in np.unique(classes):
        members = order[classes[order] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    # Sorted by their place within their class, the first fifth holds a fifth of each class.
    count = max(1, round(_SHARE * len(classes)))
    first = order[np.argsort(place[order], kind="stable")][:count]
    return first[place[first] < 0.5]
