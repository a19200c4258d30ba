"""Where encoded rows are kept: in memory, or above a size in files that are mapped into it."""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.mapping import LARGE, mapped
from fuseloom.data.preprocessing._base import Encoded
from fuseloom.errors import DataError

__all__ = ["Store"]


@dataclass(frozen=True, kw_only=True)
class Store:
    """Keeps what modalities become.

    Without a folder everything is in memory. With one, the values of a modality that would take more than
    ``large`` bytes are written to ``<modality>.npy`` there and read from it as they are needed.
    """

    folder: Path | None = None
    large: int = LARGE
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
            values = mapped(Path(str(values.filename)))
        return values, np.concatenate(masks)

    def under(self, name: str) -> Self:
        """The store of a folder inside its own."""
        return self if self.folder is None else replace(self, folder=self.folder / name)

    def file(self, name: str) -> Path | None:
        """The file that holds a modality's values, if one does."""
        path = None if self.folder is None else self.folder / f"{name}.npy"
        return path if path is not None and path.is_file() else None

    def _room(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        if self.folder is None or math.prod(shape) * dtype.itemsize <= self.large:
            return np.empty(shape, dtype=dtype)
        path = self.folder / f"{name}.npy"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            values = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
            _reserve(path)
        except OSError as error:
            size = math.prod(shape) * dtype.itemsize / 1e9
            raise DataError(
                f"{self.folder} must have room for {size:.1f} GB of inputs, got: {error.strerror}. Choose a "
                "folder on another disk, or smaller inputs (size, max_length)."
            ) from error
        return values


def _reserve(file: Path) -> None:
    """Take the room on the disk now: where it runs out while a map is written to, a process is killed."""
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as handle:
            os.posix_fallocate(handle.fileno(), 0, file.stat().st_size)
