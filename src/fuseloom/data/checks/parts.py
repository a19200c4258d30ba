"""How targets and groups are spread over classes and splits."""

from collections import Counter
from collections.abc import Iterator, Sequence, Set

import numpy as np

from fuseloom.data.checks._finding import Finding
from fuseloom.data.checks.copies import given_splits
from fuseloom.data.dataset import PIXEL_TARGETS, Dataset
from fuseloom.data.groups import divided, groups_of, kept_apart
from fuseloom.tasks import infer_task

__all__ = ["find_uneven"]

_UNEVEN = 10


def find_uneven(dataset: Dataset) -> Iterator[Finding]:
    """Rare classes, classes and types of entities that training rows lack, groups in two splits."""
    yield from _groups(dataset)
    pixels = dataset.schema.target_kind in PIXEL_TARGETS  # counted elsewhere
    task = "" if dataset.target is None or pixels else infer_task(dataset.target)
    if dataset.target is not None and task == "tagging":
        types = [{tag.partition("-")[2] for tag in tags} - {""} for tags in dataset.target]
        yield from _untrained(dataset, types, what="types of entities")
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
    yield from _untrained(dataset, [{name} for name in classes.tolist()], what="classes")


def _untrained(dataset: Dataset, named: Sequence[Set[str]], *, what: str) -> Iterator[Finding]:
    """Of what each row names, that which no training row does."""
    unknown = []
    for place, split in given_splits(dataset).items():
        trained = {
            name for names, part in zip(named, split, strict=True) if part == "train" for name in names
        }
        unknown += [f"{place}{name}" for name in sorted(set[str]().union(*named) - trained)]
    if unknown:
        yield Finding(
            severity="error",
            kind="untrained-classes",
            what=f"{what} stand in no training row, so no model can predict them",
            where=tuple(unknown),
            count=len(unknown),
            advice="Mend their spelling, move rows of them to the training split, or leave them out.",
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
