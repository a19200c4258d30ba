"""Train, valid and test: those of the source, completed where it has none, or folds."""

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Dataset
from fuseloom.errors import DataError, OptionError

__all__ = ["FEW_ROWS", "make_splits"]

FEW_ROWS = 1000
"""Below as many rows without a split, folds are made unless one split is asked for."""
_DEFAULT_FOLDS = 5
_PARTS = 5
"""One part in five is held out."""

Codes = NDArray[np.intp]
Split = NDArray[np.str_]


def make_splits(
    dataset: Dataset,
    *,
    stratify: bool,
    seed: int,
    folds: int | None = None,
) -> list[Split]:
    """Name the split of each row, once for each fold.

    Splits and folds that the source gives are kept. Without test rows a fifth of the training rows are held
    out as test, once for all folds. Without validation rows the rest is dealt into folds, each of which is
    the validation set once, so that every row that is not tested is validated by a model that has not seen
    it; or for a single split a fifth of the rest becomes valid. Rows of one group (``dataset.groups``, such
    as a speaker) are never in two splits.

    Args:
        dataset: Rows with a target.
        stratify: Draw so that each class keeps its share; a class of a single row is never tested.
        seed: Of the draw.
        folds: How many to make; 1 for a single split. By default 5 where the source gives no split and has
            fewer than 1,000 rows, otherwise 1.

    Returns:
        One array for each fold, or the only one.

    Raises:
        DataError: no training rows are given, too few to draw from, or a group in two given splits.
        OptionError: folds that cannot be made, or besides given ones.

    Example:
        >>> from fuseloom.data import load
        >>> rows = load({"a": np.zeros((50, 2)), "b": np.zeros((50, 3))}, target=[0, 1] * 25)
        >>> splits = make_splits(rows, stratify=True, seed=0)
        >>> [(int((split == "valid").sum()), int((split == "test").sum())) for split in splits]
        [(8, 10), (8, 10), (8, 10), (8, 10), (8, 10)]
    """
    generator = np.random.default_rng(seed)
    draw = _Draw(dataset, stratify=stratify, generator=generator)
    _check_folds(dataset, folds)
    if dataset.folds:
        return [draw.completed(split.astype("<U5"), 1)[0] for split in dataset.folds]
    if dataset.split is not None:
        return draw.completed(dataset.split.astype("<U5"), folds or 1)
    few = len(dataset) < FEW_ROWS
    return draw.completed(np.full(len(dataset), "train"), folds or (_DEFAULT_FOLDS if few else 1))


def _check_folds(dataset: Dataset, folds: int | None) -> None:
    if folds is None:
        return
    if folds < 1:
        raise OptionError(f"folds must be 1 or more, got {folds}.")
    if dataset.folds:
        raise OptionError(f"folds must be None where {dataset.name} gives folds, got {folds}.")
    if folds > 1 and dataset.split is not None and (dataset.split == "valid").any():
        raise OptionError(
            f"folds must be None where {dataset.name} gives validation rows, got {folds}. Leave the split "
            "column out to have folds made."
        )


class _Draw:
    """Draws rows, or whole groups of them, from the training rows."""

    def __init__(self, dataset: Dataset, *, stratify: bool, generator: np.random.Generator) -> None:
        self.dataset, self.generator = dataset, generator
        self.classes = _classes(dataset, stratify)
        self.names: list[str] = []
        self.groups: Codes | None = None
        if dataset.groups is not None:
            names, self.groups = np.unique(dataset.groups.astype(str), return_inverse=True)
            self.names = names.tolist()

    def completed(self, split: Split, folds: int) -> list[Split]:
        """The given split with test and validation rows drawn from its training rows where it has none."""
        if not np.any(split == "train"):
            names = sorted(set(split.tolist()))
            raise DataError(f"{self.dataset.name} must have training rows, got splits {names}.")
        self._check_apart(split)
        if not np.any(split == "test"):
            split = self._held_out(split, "test")
        if np.any(split == "valid"):
            return [split]
        return [self._held_out(split, "valid")] if folds == 1 else self._folded(split, folds)

    def _held_out(self, split: Split, name: str) -> Split:
        """A fifth of the training rows under another name."""
        rows = np.flatnonzero(split == "train")
        if self.groups is None:
            drawn = _fifth(self.classes[rows], self.generator)
        else:
            part = _dealt(self.groups[rows], self.classes[rows], _PARTS, self.generator)
            sizes = np.bincount(part, minlength=_PARTS).astype(np.float64)
            sizes[sizes == 0] = np.inf
            nearest = np.argmin(np.abs(sizes - len(rows) / _PARTS))
            drawn = np.flatnonzero(part == nearest)
        if not 0 < len(drawn) < len(rows):
            raise self._too_few()
        completed = split.copy()
        completed[rows[drawn]] = name
        return completed

    def _folded(self, split: Split, folds: int) -> list[Split]:
        rows = np.flatnonzero(split == "train")
        units = len(rows) if self.groups is None else len(np.unique(self.groups[rows]))
        if folds > units:
            what = "rows" if self.groups is None else "groups"
            raise OptionError(
                f"folds must be 1 to {units}, the number of {what} that are not tested, got {folds}."
            )
        if self.groups is None:
            part = _in_turn(self.classes[rows], folds, self.generator)
        else:
            part = _dealt(self.groups[rows], self.classes[rows], folds, self.generator)
        made = []
        for place in range(folds):
            fold = split.copy()
            fold[rows[part == place]] = "valid"
            made.append(fold)
        return made

    def _check_apart(self, split: Split) -> None:
        if self.groups is None:
            return
        for code, name in enumerate(self.names):
            found = sorted(set(split[self.groups == code].tolist()))
            if len(found) > 1:
                raise DataError(
                    f"groups must each be in one split, got {name!r} in {found[0]} and {found[1]}. Leave the "
                    "split column out to have groups split, or do not name groups."
                )

    def _too_few(self) -> DataError:
        if self.groups is not None:
            return DataError(
                f"{self.dataset.name} must have at least 3 groups for train, valid and test, got "
                f"{len(self.names)}."
            )
        return DataError(
            f"{self.dataset.name} must have enough rows for train, valid and test, got {len(self.dataset)}. "
            "Give more rows (of a class that is to be predicted, at least 3), or a split column."
        )


def _classes(dataset: Dataset, stratify: bool) -> Codes:
    if not stratify or dataset.target is None:
        return np.zeros(len(dataset), dtype=np.intp)
    return np.unique(dataset.target.reshape(len(dataset)), return_inverse=True)[1]


def _fifth(classes: Codes, generator: np.random.Generator) -> Codes:
    """Draw a fifth of the rows, in proportion to classes, and never more than half of a class."""
    order = generator.permutation(len(classes))
    place = np.empty(len(classes))
    for label in np.unique(classes):
        members = order[classes[order] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    # Sorted by their place within their class, the first fifth holds a fifth of each class.
    count = max(1, round(len(classes) / _PARTS))
    first = order[np.argsort(place[order], kind="stable")][:count]
    return first[place[first] < 0.5]


def _in_turn(classes: Codes, parts: int, generator: np.random.Generator) -> Codes:
    """Number the part of each row: shuffled, then class by class dealt in turn."""
    order = generator.permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]
    part = np.empty(len(classes), dtype=np.intp)
    part[order] = np.arange(len(classes)) % parts
    return part


def _dealt(groups: Codes, classes: Codes, parts: int, generator: np.random.Generator) -> Codes:
    """Number the part of each row, groups kept whole.

    Shuffled, then the largest first, a group goes where it makes the shares of classes least uneven: where
    the sum of their squares grows least.
    """
    codes, places = np.unique(groups, return_inverse=True)
    labels, classes = np.unique(classes, return_inverse=True)
    table = np.zeros((len(codes), len(labels)))
    np.add.at(table, (places, classes), 1.0)
    table /= table.sum(0)
    order = generator.permutation(len(codes))
    order = order[np.argsort(-table[order].sum(1), kind="stable")]
    held = np.zeros((parts, len(labels)))
    part = np.empty(len(codes), dtype=np.intp)
    for group in order:
        growth = ((2 * held + table[group]) * table[group]).sum(1)
        part[group] = np.argmin(growth)
        held[part[group]] += table[group]
    return part[places]
