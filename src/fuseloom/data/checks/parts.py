"""How targets and groups are spread over classes and splits."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.checks._finding import Finding
from fuseloom.data.checks.copies import given_splits
from fuseloom.data.dataset import Dataset
from fuseloom.data.groups import divided, groups_of, kept_apart
from fuseloom.tasks import infer_task

__all__ = ["find_uneven"]

_UNEVEN = 10


def find_uneven(dataset: Dataset) -> Iterator[Finding]:
    """Rare classes, classes and types of entities that training rows lack, groups in two splits."""
    yield from _groups(dataset)
    task = "" if dataset.target is None else infer_task(dataset.target)
    if dataset.target is not None and task == "tagging":
        yield from _untrained_types(dataset, dataset.target.tolist())
    if dataset.target is None or task != "classification":
        return
    classes = np.array([str(value) for value in dataset.target.reshape(len(dataset)).tolist()])
    counts = Counter(classes.tolist())
    most = max(counts.values())
    rare = sorted((count, name) for name, count in counts.items() if count * _UNEVEN < most or count == 1)
    if rare:
        yield Finding(
            severity="warning",
            kind="imbalance",
            what=f"classes have one row or less than a tenth of the {most:,} rows of the largest",
            where=tuple(f"{name}: {count:,}" for count, name in rare),
            count=len(rare),
            advice="Judge by balanced_accuracy or macro_f1 (--metric); weigh (--class-weight balanced).",
        )
    yield from _untrained(dataset, classes)


def _untrained(dataset: Dataset, classes: NDArray[np.str_]) -> Iterator[Finding]:
    every = set(classes.tolist())
    unknown = [
        f"{place}{name}"
        for place, split in given_splits(dataset).items()
        for name in sorted(every - set(classes[split == "train"].tolist()))
    ]
    if unknown:
        yield Finding(
            severity="error",
            kind="untrained-classes",
            what="classes stand in no training row, so no model can predict them",
            where=tuple(unknown),
            count=len(unknown),
            advice="Move rows of them to the training split, or leave them out.",
        )


def _untrained_types(dataset: Dataset, target: Sequence[Sequence[str]]) -> Iterator[Finding]:
    types = [{tag.partition("-")[2] for tag in tags} - {""} for tags in target]
    unknown = []
    for place, split in given_splits(dataset).items():
        trained = {
            kind for of_row, part in zip(types, split, strict=True) if part == "train" for kind in of_row
        }
        unknown += [f"{place}{kind}" for kind in sorted(set[str]().union(*types) - trained)]
    if unknown:
        yield Finding(
            severity="error",
            kind="untrained-classes",
            what="types of entities stand in no training row, so no model can predict them",
            where=tuple(unknown),
            count=len(unknown),
            advice="Mend the spelling of their tags, or move rows of them to the training split.",
        )


def _groups(dataset: Dataset) -> Iterator[Finding]:
    if (groups := groups_of(dataset)) is None:
        return
    parted = [
        f"{place}{group} ({', '.join(parts)})"
        for place, split in given_splits(dataset).items()
        for group, parts in divided(groups, split).items()
    ]
    if parted and dataset.groups is not None:
        yield Finding(
            severity="error",
            kind="groups-across-splits",
            what="groups stand in two splits: scores on them are flattered",
            where=tuple(parted),
            count=len(parted),
            advice="Leave the split column out to have groups split, or mend the split.",
        )
    elif parted:
        yield Finding(
            severity="warning",
            kind="groups-across-splits",
            what=f"of {dataset.grouping!r} stand in two splits: scores say nothing of new ones",
            where=tuple(parted),
            count=len(parted),
            advice=f"For a split between them: {kept_apart(dataset)}.",
        )
