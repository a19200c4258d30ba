"""Pictures."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Image
from fuseloom.data.grid import Grid, usual_sides
from fuseloom.data.media import even_places, frames_of, read_image, read_item
from fuseloom.data.preprocessing._base import Encoded, Preprocessor
from fuseloom.errors import OptionError

__all__ = ["ImagePreprocessor"]

_LOOKED_AT = 256


@dataclass(frozen=True, kw_only=True)
class ImagePreprocessor(Preprocessor):
    """RGB in bytes, ``[N, 3, H, W]``: the shorter side resized, the middle of the longer one kept.

    ``size`` is both sides, or ``HxW``. With ``squash`` both sides are resized, and nothing is cut. Of rows of
    several frames the channels stand behind one another, ``[N, 3 * frames, H, W]``.
    """

    kind = "image"
    reads = "image"
    rows_at_once: ClassVar[int] = 64
    size: int | str
    frames: int = 1
    squash: bool = False

    @classmethod
    def fit(
        cls,
        modality: Image,
        rows: NDArray[np.intp],
        *,
        size: int | str | None = None,
        frames: int | None = None,
        squash: bool = False,
    ) -> Self:
        """Take what is given, or learn it from training pictures.

        Args:
            modality: All pictures.
            rows: Those of training.
            size: Pixels of both sides, or of each, ``480x640``; by default the median shorter side, from 8 to
                64 pixels.
            frames: Of each row, spread evenly over its own; 1 is the one in the middle. By default as many as
                the training row with most of them has.
            squash: Resize both sides, whatever the shape of a picture.

        Raises:
            OptionError: fewer than one frame, or a size that is none.
        """
        there = [modality.items[row] for row in rows if modality.items[row] is not None]
        if frames is None:
            frames = max((len(frames_of(item)) for item in there), default=1)
        if frames < 1:
            raise OptionError(f"frames must be at least 1, got {frames}.")
        if size is None:
            shown = there[:: max(1, len(there) // _LOOKED_AT)]
            sides = [min(read_item(read_image, frames_of(item)[0]).shape[:2]) for item in shown]
            size = usual_sides(sides)
        return cls(size=Grid.of(size).size, frames=frames, squash=squash)

    @property
    def grid(self) -> Grid:
        """What all pictures are brought to."""
        return Grid.of(self.size, squash=self.squash)

    def apply(self, modality: Image) -> Encoded:
        """Bytes ``[N, 3 * frames, H, W]``, zero where there is no picture, and a mask entry per row."""
        grid = self.grid
        out = np.zeros((len(modality), self.frames, 3, grid.height, grid.width), dtype=np.uint8)
        for row, item in enumerate(modality.items):
            if item is not None:
                pictures = frames_of(item)
                for frame, place in enumerate(even_places(len(pictures), self.frames)):
                    pixels = read_item(read_image, pictures[place])
                    out[row, frame] = grid.picture(pixels).transpose(2, 0, 1)
        mask = np.array([item is not None for item in modality.items], dtype=np.bool_)
        return out.reshape(len(modality), -1, grid.height, grid.width), mask

    def encoder_options(self) -> dict[str, Any]:
        """Number of channels."""
        return {"channels": 3 * self.frames}
