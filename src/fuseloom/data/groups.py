"""Groups of rows, such as those of one speaker, and which of them a split divides."""

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from fuseloom.data.dataset import Dataset

__all__ = ["divided", "divided_notes", "groups_of", "kept_apart"]


def groups_of(dataset: Dataset) -> NDArray[Any] | None:
    """The group of each row: those that were asked for, or else those that the set's authors know of."""
    if dataset.groups is not None or dataset.grouping is None:
        return dataset.groups
    return dataset.labels[dataset.grouping]


def divided(groups: NDArray[Any], split: NDArray[Any]) -> dict[str, list[str]]:
    """Group -> its splits, of each group that stands in more than one.

    Args:
        groups: Of each row ``[N]``.
        split: Of each row ``[N]``.

    Example:
        >>> import numpy as np
        >>> divided(np.array(["ann", "bob", "ann"]), np.array(["test", "train", "train"]))
        {'ann': ['test', 'train']}
    """
    found: dict[str, set[str]] = {}
    for group, part in zip(groups.tolist(), split.tolist(), strict=True):
        found.setdefault(str(group), set()).add(str(part))
    return {group: sorted(parts) for group, parts in sorted(found.items()) if len(parts) > 1}


def divided_notes(dataset: Dataset) -> Iterator[str]:
    """A note where a published split divides groups that nobody asked to keep together."""
    if dataset.groups is not None or dataset.split is None or (groups := groups_of(dataset)) is None:
        return
    if parted := divided(groups, dataset.split):
        yield (
            f"{len(parted):,} of {len(set(groups.tolist())):,} of {dataset.grouping!r} stand in two splits: "
            f"scores say nothing of new ones; for a split between them: {kept_apart(dataset)}"
        )


def kept_apart(dataset: Dataset) -> str:
    """The options that deal rows anew, whole groups at a time."""
    ignored = "" if dataset.schema.split_column is None else f" --kind {dataset.schema.split_column}=ignore"
    return f"--group {dataset.grouping}{ignored}"
