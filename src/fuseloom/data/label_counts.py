"""How many pixels have each label, in each row whose target is a map of them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Dataset
from fuseloom.data.label_maps import IGNORED, LabelMap

__all__ = ["LabelPixels", "label_pixels"]


@dataclass(frozen=True, kw_only=True)
class LabelPixels:
    """How many pixels of each row have each label, and the size of its map."""

    counts: NDArray[np.int64]
    """``[N, 256]``, of which the last are those that do not count."""
    sizes: Sequence[tuple[int, int]]
    """Height and width."""
    names: Sequence[str]

    @property
    def counted(self) -> NDArray[np.int64]:
        """The same of the labels that have names ``[N, K]``."""
        return self.counts[:, : len(self.names)]


def label_pixels(dataset: Dataset) -> LabelPixels | None:
    """Count, where the target is maps of labels; each is read once.

    Raises:
        DataError: a file has vanished since.
    """
    if dataset.schema.target_kind != "labels" or dataset.target is None:
        return None
    with ThreadPoolExecutor() as threads:
        seen = [*threads.map(_counted, dataset.target.tolist())]
    counts = np.stack([count for count, _ in seen])
    form = dataset.schema.label_format
    names = form.names if form is not None else ()
    if not names:
        last = int(np.flatnonzero(counts[:, :IGNORED].any(0)).max(initial=-1))
        names = tuple(str(label) for label in range(last + 1))
    return LabelPixels(counts=counts, sizes=[size for _, size in seen], names=names)


def _counted(one: LabelMap) -> tuple[NDArray[np.int64], tuple[int, int]]:
    labels = one.read()
    return np.bincount(labels.ravel(), minlength=IGNORED + 1), (labels.shape[0], labels.shape[1])
