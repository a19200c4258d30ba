"""What a picture must be, so that a task can learn to make it."""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["PictureItem"]


@runtime_checkable
class PictureItem(Protocol):
    """A picture or a map read when needed, such as a `fuseloom.data.target_pictures.TargetPicture`."""

    @property
    def limits(self) -> tuple[float, float] | None:
        """The least and the largest number that there can be, if that is known."""

    def read(self, size: tuple[int, int] | None = None) -> NDArray[np.float32]:
        """Numbers ``[C, H, W]``, NaN where nothing is known; at a size, those there."""
