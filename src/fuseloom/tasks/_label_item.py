"""What a map of labels must be, so that a task can learn from it."""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["LabelItem"]


@runtime_checkable
class LabelItem(Protocol):
    """A map of labels that is read when it is needed, such as a `fuseloom.data.label_maps.LabelMap`."""

    @property
    def names(self) -> tuple[str, ...]:
        """What labels are called, if that is known."""

    def read(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """Labels ``[H, W]``, 255 where none counts; at a size, those of the nearest pixels."""
