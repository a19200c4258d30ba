"""The grid of pixels that pictures and maps are brought to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.errors import MissingExtraError, OptionError

__all__ = ["Grid", "usual_sides"]

_SMALLEST, _LARGEST = 8, 64


@dataclass(frozen=True, kw_only=True)
class Grid:
    """So many pixels; what is larger is made smaller, whole or its middle."""

    height: int
    width: int
    squash: bool = False
    """Whether both sides are resized, whatever the shape; else the middle of the longer one is kept."""

    @classmethod
    def of(cls, size: int | str, *, squash: bool = False) -> Self:
        """That of a side in pixels, or of ``HEIGHTxWIDTH``.

        Raises:
            OptionError: text of another form, or an empty grid.

        Example:
            >>> Grid.of("480x640")
            Grid(height=480, width=640, squash=False)
        """
        parts = str(size).split("x")
        sides = [int(part) for part in parts if part.isdecimal()]
        if len(sides) != len(parts) or len(sides) > 2 or min(sides) < 1:
            raise OptionError(f"size must be pixels, such as 64 or 480x640, got {size!r}.")
        return cls(height=sides[0], width=sides[-1], squash=squash)

    @property
    def size(self) -> int | str:
        """What `of` reads."""
        return self.height if self.height == self.width else f"{self.height}x{self.width}"

    def places(self, height: int, width: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the nearest pixels of a map with these sides.

        Example:
            >>> Grid(height=2, width=2).places(4, 8)
            (array([1, 3]), array([3, 5]))
        """
        wanted = self.height, self.width
        step = min(height / self.height, width / self.width)
        steps = [
            side / own if self.squash else step for side, own in zip((height, width), wanted, strict=True)
        ]
        rows, columns = (
            ((side - own * each) / 2 + (np.arange(own) + 0.5) * each).astype(np.intp)
            for side, own, each in zip((height, width), wanted, steps, strict=True)
        )
        return rows, columns

    def picture(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A picture ``[H, W, 3]`` brought to the grid, each pixel a mean of those that it covers.

        Raises:
            MissingExtraError: Pillow is not installed.
        """
        if pixels.shape[:2] == (self.height, self.width):
            return pixels
        try:
            from PIL import Image, ImageOps
        except ImportError:
            raise MissingExtraError(
                "Resizing pictures needs Pillow. Install it with: pip install 'fuseloom[vision]'"
            ) from None
        found, way = Image.fromarray(pixels), Image.Resampling.BILINEAR
        sides = self.width, self.height
        found = found.resize(sides, way) if self.squash else ImageOps.fit(found, sides, method=way)
        return np.asarray(found, dtype=np.uint8)


def usual_sides(sides: Sequence[int]) -> int:
    """The median of shorter sides, from 8 to 64 pixels."""
    return int(np.clip(np.median(sides), _SMALLEST, _LARGEST)) if sides else _SMALLEST
