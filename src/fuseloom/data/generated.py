"""What the generated sets share: rows that are a mapping, splits with even classes in each, a source."""

from abc import ABC
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.cells import Cells
from fuseloom.data.source import Source
from fuseloom.data.values import embedding

__all__ = ["GeneratedRows", "even_classes", "generated_source", "in_splits"]

_SPLIT_SHARES = {"train": 0.6, "valid": 0.2, "test": 0.2}


@dataclass(frozen=True, kw_only=True, eq=False)
class GeneratedRows(Mapping[str, NDArray[Any]], ABC):
    """Rows that were drawn; a mapping that `fuseloom.compare` and `fuseloom.data.load` take as it is.

    Its entries are the modalities, ``target`` and ``split``.
    """

    streams: Mapping[str, NDArray[np.float32]]
    """Modality name -> features ``[N, width]`` or tokens ``[N, T, width]``."""
    target: NDArray[np.object_]
    """Class of each row ``[N]``."""
    split: NDArray[np.object_]
    """``train``, ``valid`` or ``test`` ``[N]``; in each the classes are equally frequent."""

    def __getitem__(self, name: str) -> NDArray[Any]:
        return {**self.streams, "target": self.target, "split": self.split}[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self.streams, "target", "split"])

    def __len__(self) -> int:
        return len(self.streams) + 2


def in_splits(num_rows: int) -> NDArray[np.object_]:
    """The split of each row ``[N]``: the first three fifths for training, a fifth each for the others.

    Example:
        >>> in_splits(5)
        array(['train', 'train', 'train', 'valid', 'test'], dtype=object)
    """
    ends = np.round(np.cumsum(list(_SPLIT_SHARES.values())) * num_rows)
    places = np.searchsorted(ends, np.arange(num_rows), side="right")
    return np.array(list(_SPLIT_SHARES), dtype=object)[places]


def even_classes(
    split: NDArray[np.object_], num_classes: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Classes ``[N]``, each as often as any other in each split, give or take one, in random order.

    Example:
        >>> even_classes(in_splits(20), 2, np.random.default_rng(0))[:12].sum()
        np.int64(6)
    """
    found = np.empty(len(split), dtype=np.int64)
    for name in _SPLIT_SHARES:
        rows = np.flatnonzero(split == name)
        found[rows] = generator.permutation(np.arange(len(rows)) % num_classes)
    return found


def generated_source(name: str, data: GeneratedRows, *, target: str, labels: Mapping[str, Cells]) -> Source:
    """An embedded set of generated rows.

    Args:
        name: Of the set.
        data: Its rows.
        target: Name of the column with the class.
        labels: Further columns that are never inputs.
    """
    return Source(
        name=name,
        source_format=name.partition("-")[0],
        ids=[str(row) for row in range(len(data.target))],
        places=[f"{name} row {row}" for row in range(len(data.target))],
        arrays={modality: embedding(modality, values) for modality, values in data.streams.items()},
        labels={**labels, target: data.target, "split": data.split},
        target=target,
        target_kind="category",
        split_column="split",
    )
