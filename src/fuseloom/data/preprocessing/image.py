"""Pictures."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Image
from fuseloom.data.media import read_image, read_item
from fuseloom.data.preprocessing._base import Encoded, Preprocessor
from fuseloom.errors import MissingExtraError

__all__ = ["ImagePreprocessor"]

_LOOKED_AT = 256
_SMALLEST, _LARGEST = 8, 64


@dataclass(frozen=True, kw_only=True)
class ImagePreprocessor(Preprocessor):
    """RGB in bytes, ``[N, 3, size, size]``: the shorter side resized, the middle of the longer one kept."""

    kind = "image"
    reads = "image"
    rows_at_once: ClassVar[int] = 64
    size: int

    @classmethod
    def fit(cls, modality: Image, rows: NDArray[np.intp], *, size: int | None = None) -> Self:
        """Take the size given, or the median shorter side of training pictures, from 8 to 64 pixels."""
        if size is None:
            there = [row for row in rows if modality.items[row] is not None]
            shown = there[:: max(1, len(there) // _LOOKED_AT)]
            sides = [min(read_item(read_image, modality.items[row]).shape[:2]) for row in shown]
            size = int(np.clip(np.median(sides), _SMALLEST, _LARGEST)) if sides else _SMALLEST
        return cls(size=size)

    def apply(self, modality: Image) -> Encoded:
        """Bytes ``[N, 3, size, size]``, zero where there is no picture, and one mask entry per row."""
        out = np.zeros((len(modality), 3, self.size, self.size), dtype=np.uint8)
        for row, item in enumerate(modality.items):
            if item is not None:
                out[row] = _resized(read_item(read_image, item), self.size).transpose(2, 0, 1)
        return out, np.array([item is not None for item in modality.items], dtype=np.bool_)

    def encoder_options(self) -> dict[str, Any]:
        """Number of channels."""
        return {"channels": 3}


def _resized(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    if pixels.shape[:2] == (size, size):
        return pixels
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise MissingExtraError(
            "Resizing pictures needs Pillow. Install it with: pip install 'fuseloom[vision]'"
        ) from None
    picture = ImageOps.fit(Image.fromarray(pixels), (size, size), method=Image.Resampling.BILINEAR)
    return np.asarray(picture, dtype=np.uint8)
