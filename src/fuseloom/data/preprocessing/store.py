"""Where encoded rows are kept: in memory, or above a size in files that are mapped into it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.preprocessing._base import Encoded

__all__ = ["Store"]

_LARGE = 2**30


@dataclass(frozen=True, kw_only=True)
class Store:
    """Keeps what modalities become.

    Without a folder everything is in memory. With one, the values of a modality that would take more than
    ``large`` bytes are written to ``<modality>.npy`` there and read from it as they are needed.
    """

    folder: Path | None = None
    large: int = _LARGE
    """Bytes, by default 1 GiB."""

    def put(self, name: str, parts: Iterable[Encoded], *, rows: int) -> Encoded:
        """Lay the parts end to end; ``rows`` is how many rows they hold in all, at least one part of them."""
        values: NDArray[Any] | None = None
        masks = []
        done = 0
        for part, mask in parts:
            if values is None:
                values = self._room(name, (rows, *part.shape[1:]), part.dtype)
            values[done : done + len(part)] = part
            masks.append(mask)
            done += len(part)
        assert values is not None
        if isinstance(values, np.memmap):
            values.flush()
        return values, np.concatenate(masks)

    def file(self, name: str) -> Path | None:
        """The file that holds a modality's values, if one does."""
        path = None if self.folder is None else self.folder / f"{name}.npy"
        return path if path is not None and path.is_file() else None

    def _room(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        if self.folder is None or math.prod(shape) * dtype.itemsize <= self.large:
            return np.empty(shape, dtype=dtype)
        self.folder.mkdir(parents=True, exist_ok=True)
        return np.lib.format.open_memmap(self.folder / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)
