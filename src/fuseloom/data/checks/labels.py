"""What maps of labels hold: labels that nothing teaches, rare ones, and pixels that do not count."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.checks._finding import Finding
from fuseloom.data.checks.copies import given_splits
from fuseloom.data.dataset import Dataset
from fuseloom.data.label_counts import LabelPixels
from fuseloom.data.label_maps import IGNORED

__all__ = ["find_labels"]

_RARE = 100
"""How many times rarer than the most frequent label one is told."""
_MANY = 0.1
"""Share of pixels that do not count, from which on it is told."""


def find_labels(dataset: Dataset, pixels: LabelPixels) -> Iterator[Finding]:
    """Labels that no training pixel has, or none at all, rare ones, and maps of which little counts."""
    totals = pixels.counted.sum(0)
    yield from _untrained(dataset, pixels)
    if dataset.schema.label_format is not None and dataset.schema.label_format.names:
        yield from _empty([name for name, total in zip(pixels.names, totals, strict=True) if not total])
    yield from _rare(pixels.names, totals)
    yield from _uncounted(dataset, pixels)


def _untrained(dataset: Dataset, pixels: LabelPixels) -> Iterator[Finding]:
    found = []
    for place, split in given_splits(dataset).items():
        trained = pixels.counted[split == "train"].sum(0)
        others = pixels.counted[split != "train"].sum(0)
        found += [
            f"{place}{pixels.names[label]}: {others[label]:,} pixels"
            for label in np.flatnonzero((trained == 0) & (others > 0)).tolist()
        ]
    if found:
        yield Finding(
            severity="error",
            kind="untrained-classes",
            what="labels stand at no pixel of a training row, so no model can predict them",
            where=tuple(found),
            count=len(found),
            advice="Move rows of them to the training split, or say that they do not count (--labels).",
        )


def _empty(names: Sequence[str]) -> Iterator[Finding]:
    if names:
        yield Finding(
            severity="warning",
            kind="empty-classes",
            what="labels stand at no pixel of any row",
            where=tuple(names),
            count=len(names),
            advice="Look whether the numbers of the files mean what their names say (--labels).",
        )


def _rare(names: Sequence[str], totals: NDArray[np.int64]) -> Iterator[Finding]:
    most = totals.max(initial=0)
    order = np.argsort(totals, kind="stable")
    rare = [label for label in order.tolist() if 0 < totals[label] * _RARE < most]
    if rare:
        yield Finding(
            severity="warning",
            kind="imbalance",
            what=f"labels have less than a hundredth of the {most:,} pixels of the most frequent",
            where=tuple(f"{names[label]}: {totals[label]:,}" for label in rare),
            count=len(rare),
            advice="Judge by miou, which counts labels alike, rather than by pixel_accuracy (--metric).",
        )


def _uncounted(dataset: Dataset, pixels: LabelPixels) -> Iterator[Finding]:
    whole, ignored = pixels.counts.sum(1), pixels.counts[:, IGNORED]
    if blank := [dataset.ids[row] for row in np.flatnonzero(whole == ignored).tolist()]:
        yield Finding(
            severity="warning",
            kind="blank-labels",
            what="rows have no pixel that counts",
            where=tuple(blank),
            count=len(blank),
            advice="Leave them out: nothing is learnt from them, and nothing scored.",
        )
    parts = given_splits(dataset) or {"": np.full(len(dataset), "all rows")}
    shares = {
        f"{place}{name}": ignored[split == name].sum() / whole[split == name].sum()
        for place, split in parts.items()
        for name in dict.fromkeys(split.tolist())
    }
    if many := {name: share for name, share in shares.items() if share >= _MANY}:
        yield Finding(
            severity="warning",
            kind="uncounted-pixels",
            what="splits have a tenth or more of their pixels that do not count",
            where=tuple(f"{name}: {share:.1%}" for name, share in many.items()),
            count=len(many),
            advice="Know that scores say nothing of them; papers must leave out the same.",
        )
