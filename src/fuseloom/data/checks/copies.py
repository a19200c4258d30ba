"""Rows with the same content: in two splits, under two targets, or in two modalities."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.checks._finding import Finding
from fuseloom.data.checks.contents import Contents
from fuseloom.data.dataset import PIXEL_TARGETS, Dataset, Embedding, Files, Table

__all__ = ["find_copies", "given_splits"]

_WIDE = 8
"""Features from which on two equal vectors are no chance."""
_MOSTLY = 0.5
"""Share of rows that are unlike all others, from which on equal rows are no chance."""

Rows = Mapping[object, list[int]]
"""Content -> the rows that hold it."""


def find_copies(dataset: Dataset, prints: Contents) -> Iterator[Finding]:
    """Content that stands in two splits, under two targets, or in two modalities."""
    whole = [None if not any(row) else row for row in zip(*prints.values(), strict=True)]
    rows = _by_content(whole)
    splits = given_splits(dataset)
    telling = len(rows) >= _MOSTLY * len(dataset)
    yield from _across(dataset, "every modality", rows, splits, severe=telling)
    for name, digests in prints.items():
        yield from _of_modality(dataset, name, _by_content(digests, whole=rows), splits)
    if telling and dataset.schema.target_kind not in PIXEL_TARGETS:
        yield from _contradictions(dataset, rows)
    yield from _equal_modalities(prints)


def given_splits(dataset: Dataset) -> dict[str, NDArray[np.str_]]:
    """How to begin a place -> the split of each row; of the splits that the source gives."""
    if dataset.folds:
        return {f"fold {place}, ": fold for place, fold in enumerate(dataset.folds)}
    return {} if dataset.split is None else {"": dataset.split}


def _by_content(digests: Sequence[object], whole: Rows | None = None) -> Rows:
    """Rows by content; with ``whole`` those that are copies as a whole count once."""
    again = {row for copies in (whole or {}).values() for row in copies[1:]}
    rows: dict[object, list[int]] = defaultdict(list)
    for row, digest in enumerate(digests):
        if digest is not None and row not in again:
            rows[digest].append(row)
    return rows


def _across(
    dataset: Dataset, owner: str, rows: Rows, splits: Mapping[str, NDArray[np.str_]], *, severe: bool
) -> Iterator[Finding]:
    repeated = [copies for copies in rows.values() if len(copies) > 1]
    if repeated and not splits:
        yield Finding(
            severity="warning",
            kind="copies",
            what=f"rows repeat the content of another one in {owner}",
            where=tuple(" = ".join(dataset.ids[row] for row in copies) for copies in repeated),
            count=sum(len(copies) - 1 for copies in repeated),
            advice="Remove them, or name what they share with --group, so that no two splits hold them.",
        )
    parted = {
        place + " = ".join(f"{dataset.ids[row]} ({split[row]})" for row in copies): copies[0]
        for place, split in splits.items()
        for copies in repeated
        if len(set(split[copies].tolist())) > 1
    }
    if parted:
        yield Finding(
            severity="error" if severe else "warning",
            kind="copies-across-splits",
            what=f"contents of {owner} stand in two splits: scores on them are flattered",
            where=tuple(parted),
            count=len(set(parted.values())),
            advice="Remove the copies, or split so that they stay together (--group).",
        )


def _of_modality(
    dataset: Dataset, name: str, rows: Rows, splits: Mapping[str, NDArray[np.str_]]
) -> Iterator[Finding]:
    """Copies in one modality, where equal content is no chance."""
    modality = dataset.modalities[name]
    narrow = isinstance(modality, Embedding) and modality.values.shape[-1] < _WIDE
    files = isinstance(modality, Files)
    kept_together = dataset.groups is not None
    if isinstance(modality, Table) or narrow or len(dataset.modalities) == 1:
        return
    if splits or (files and not kept_together):
        yield from _across(dataset, name, rows, splits, severe=False)


def _contradictions(dataset: Dataset, rows: Rows) -> Iterator[Finding]:
    if dataset.target is None:
        return
    targets = dataset.target.reshape(len(dataset), -1)
    parted = [copies for copies in rows.values() if len({tuple(targets[row].tolist()) for row in copies}) > 1]
    if parted:
        yield Finding(
            severity="warning",
            kind="contradictions",
            what="contents have more than one target",
            where=tuple(" = ".join(dataset.ids[row] for row in copies) for copies in parted),
            count=len(parted),
            advice="Decide which target is right, or accept that no model can be.",
        )


def _equal_modalities(prints: Contents) -> Iterator[Finding]:
    for one, other in combinations(prints, 2):
        if len(set(prints[one])) > 1 and prints[one] == prints[other]:
            yield Finding(
                severity="warning",
                kind="equal-modalities",
                what=f"modalities hold the same: {one} and {other}",
                where=(one, other),
                count=2,
                advice="Leave one of them out: there is nothing to fuse.",
            )
