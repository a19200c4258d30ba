"""Files whose names say that they belong together and that stand in different rows."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from fuseloom.data.checks._finding import Finding
from fuseloom.data.dataset import Dataset, Files
from fuseloom.data.media import ArchivePart, Frames, PicturePart

__all__ = ["find_misaligned"]

_MOSTLY = 0.8


def find_misaligned(dataset: Dataset) -> Iterator[Finding]:
    """Rows of which two files, or a file and the id, are called as those of another row are.

    Only where names are unique and most of them occur on both sides, as ``0017.png`` and ``0017.wav`` do.
    """
    names = {
        name: [_stem(item) for item in modality.items]
        for name, modality in dataset.modalities.items()
        if isinstance(modality, Files)
    }
    if dataset.schema.id_column is not None:
        names[dataset.schema.id_column] = list(dataset.ids)
    for one, other in combinations(names, 2):
        yield from _between(dataset, {one: names[one], other: names[other]})


def _between(dataset: Dataset, names: dict[str, list[str | None]]) -> Iterator[Finding]:
    (one, first), (other, second) = names.items()
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    known = [{pair[side] for pair in pairs} for side in (0, 1)]
    shared = known[0] & known[1]
    if min(map(len, known)) < len(pairs) or len(shared) < max(_MOSTLY * len(pairs), 1):
        return
    wrong = [
        f"{dataset.ids[row]}: {one} {a!r}, {other} {b!r}"
        for row, (a, b) in enumerate(zip(first, second, strict=True))
        if a != b and a in shared and b in shared
    ]
    if wrong:
        yield Finding(
            severity="error",
            kind="misaligned",
            what=f"rows join a name of {one} with one of {other} that belongs to another row",
            where=tuple(wrong),
            count=len(wrong),
            advice="Sort or join both by name.",
        )


def _stem(item: Any) -> str | None:
    """What a file is called without its ending; of frames it is what their folder is called."""
    if isinstance(item, Frames):
        return item.pictures[0].parent.name if isinstance(item.pictures[0], Path) else None
    if isinstance(item, PicturePart):
        return item.path.stem
    return Path(item.name).stem if isinstance(item, Path | ArchivePart) else None
