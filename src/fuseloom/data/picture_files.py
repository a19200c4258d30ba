"""Pixels as the bytes of a picture file."""

import io
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fuseloom.errors import MissingExtraError

__all__ = ["picture_bytes"]


def picture_bytes(
    pixels: NDArray[Any],
    kind: Literal["PNG", "JPEG"] = "PNG",
    *,
    palette: NDArray[np.uint8] | None = None,
    **options: Any,
) -> bytes:
    r"""The file of a picture.

    Args:
        pixels: ``[H, W]`` of 8 or 16 bits, or ``[H, W, 3]`` of 8.
        kind: Of the file.
        palette: Red, green and blue ``[K, 3]`` of each number, in which numbers ``[H, W]`` are shown.
        options: As Pillow has them for such files.

    Raises:
        MissingExtraError: Pillow is not installed.

    Example:
        >>> picture_bytes(np.zeros((2, 3), dtype=np.uint8))[:4]
        b'\x89PNG'
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError(
            "Writing pictures needs Pillow. Install it with: pip install 'fuseloom[vision]'"
        ) from None
    picture = Image.fromarray(pixels)
    if palette is not None:
        picture.putpalette(palette.reshape(-1).tolist())
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
