"""Values and pixels as a small picture that a page can hold in itself."""

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.errors import MissingExtraError

__all__ = ["data_uri", "grey", "shrunk"]

_MOST_BYTES = 4096
_QUALITIES = (85, 70, 50, 30, 15)
_SHADES = 32
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KINDS = {1: 0, 3: 2, 4: 6}
"""Numbers per pixel -> how a PNG file calls that: grey, RGB, RGB with opacity."""


def shrunk(values: NDArray[Any], *, height: int, width: int) -> NDArray[np.float64]:
    """Averages over boxes that are as equal as can be; what is small enough already stays as it is.

    Args:
        values: ``[H, W]`` or ``[H, W, C]``.
        height: The most of the first axis that is left.
        width: The most of the second axis that is left.

    Example:
        >>> shrunk(np.array([[0, 2, 4, 6, 8]]), height=4, width=2).tolist()
        [[1.0, 6.0]]
    """
    return _averaged(_averaged(values, height, 0), width, 1).astype(np.float64)


def _averaged(values: NDArray[Any], most: int, axis: int) -> NDArray[Any]:
    size = values.shape[axis]
    if size <= most:
        return values
    starts = np.arange(most) * size // most
    counts = np.diff(starts, append=size).reshape(
        [-1 if place == axis else 1 for place in range(values.ndim)]
    )
    averages: NDArray[np.float64] = np.add.reduceat(values, starts, axis=axis, dtype=np.float64) / counts
    return averages


def grey(values: NDArray[Any], *, low: float, high: float) -> NDArray[np.uint8]:
    """Numbers as 32 shades of grey, of the same shape: what is ``low`` or below is white, ``high`` black.

    Args:
        values: Those that are not finite become white.
        low: Where the shades start.
        high: Where they end; all is white where the two are equal.

    Example:
        >>> grey(np.array([0.0, 5.0, 10.0, np.nan]), low=0, high=10).tolist()
        [255, 123, 0, 255]
    """
    known = np.where(np.isfinite(values), values, low).clip(low, high)
    share = (known - low) / (high - low) if high > low else np.zeros(values.shape)
    steps = np.rint(share * (_SHADES - 1))
    return np.rint(255 - 255 / (_SHADES - 1) * steps).astype(np.uint8)


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """A data URI of a picture: exact where that takes few bytes, which a photograph does not, else a JPEG.

    Args:
        pixels: ``[H, W]`` grey, ``[H, W, 3]`` RGB, or ``[H, W, 4]`` with opacity, which is always exact; of
            at most about 100 x 100.

    Raises:
        MissingExtraError: a JPEG is needed and Pillow is not installed.

    Example:
        >>> data_uri(np.zeros((2, 2), dtype=np.uint8))[:22]
        'data:image/png;base64,'
    """
    exact = _png(pixels)
    small = len(exact) <= _MOST_BYTES or pixels.shape[2:] == (4,)
    form, content = ("png", exact) if small else ("jpeg", _jpeg(pixels))
    return f"data:image/{form};base64,{base64.b64encode(content).decode()}"


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG file, by its specification (ISO/IEC 15948): eight bits a channel, no filter."""
    height, width = pixels.shape[:2]
    kind = _KINDS[pixels.size // (height * width)]
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    lines = np.pad(pixels.reshape(height, -1), ((0, 0), (1, 0)))  # each starts with the number of its filter
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")]
    return _SIGNATURE + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """The bytes of a JPEG file, of the best quality that is small enough, or the lowest."""
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError(
            "Showing photographs needs Pillow. Install it with: pip install 'fuseloom[vision]'"
        ) from None
    picture = Image.fromarray(pixels)
    content = b""
    for quality in _QUALITIES:
        file = io.BytesIO()
        picture.save(file, format="JPEG", quality=quality, optimize=True)
        content = file.getvalue()
        if len(content) <= _MOST_BYTES:
            break
    return content
