"""Train, valid and test: those of the source, completed where it has none, or folds."""

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Dataset
from fuseloom.errors import DataError, OptionError

__all__ = ["make_splits"]

_SHARE = 0.2


def make_splits(
    dataset: Dataset, *, stratify: bool, seed: int, folds: int | None = None
) -> list[NDArray[np.str_]]:
    """Name the split of each row, once for each fold.

    Splits that the source gives are kept. Without test rows a fifth of the training rows become test, then
    without validation rows a fifth of the remaining become valid. Of folds that are made, each is the test
    set once, and the one after it the validation set.

    Args:
        dataset: Rows with a target.
        stratify: Draw so that each class keeps its share; a class of a single row stays in training.
        seed: Of the draw.
        folds: How many to make; None for one split.

    Returns:
        One array for each fold, or the only one.

    Raises:
        DataError: no training rows are given, or too few to draw from, or folds besides given splits.
        OptionError: fewer than three folds.
    """
    generator = np.random.default_rng(seed)
    classes = _classes(dataset, stratify)
    if folds is not None:
        return _made_folds(dataset, classes, folds, generator)
    given = dataset.folds or [
        np.full(len(dataset), "train") if dataset.split is None else dataset.split.astype("<U5")
    ]
    return [_completed(dataset, split.copy(), classes, generator) for split in given]


def _completed(
    dataset: Dataset, split: NDArray[np.str_], classes: NDArray[np.intp], generator: np.random.Generator
) -> NDArray[np.str_]:
    if not np.any(split == "train"):
        raise DataError(f"{dataset.name} must have training rows, got splits {sorted(set(split.tolist()))}.")
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


def _made_folds(
    dataset: Dataset, classes: NDArray[np.intp], folds: int, generator: np.random.Generator
) -> list[NDArray[np.str_]]:
    if dataset.split is not None or dataset.folds:
        raise DataError(f"folds must be None where {dataset.name} gives splits, got {folds}.")
    if not 3 <= folds <= len(dataset):
        raise OptionError(f"folds must be 3 to {len(dataset)}, the number of rows, got {folds}.")
    order = generator.permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]  # class by class, dealt in turn
    fold = np.empty(len(classes), dtype=np.intp)
    fold[order] = np.arange(len(classes)) % folds
    names = np.array(["test", "valid", *["train"] * (folds - 2)])
    return [names[(fold - first) % folds] for first in range(folds)]


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
