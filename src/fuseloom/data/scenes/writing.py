"""Pictures of scenes as files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fuseloom.errors import MissingExtraError

__all__ = ["save_jpeg"]


def save_jpeg(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write pixels ``[H, W, 3]`` with little loss, at full resolution of colours.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError(
            "Writing pictures needs Pillow. Install it with: pip install 'fuseloom[vision]'"
        ) from None
    Image.fromarray(pixels).save(path, quality=95, subsampling=0)
