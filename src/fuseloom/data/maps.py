"""Maps of numbers over the pixels of a scene, such as depth and temperature."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.media import PicturePart, check_pixels, open_item, reason_of
from fuseloom.errors import DataError, MissingExtraError, OptionError

__all__ = ["MapFormat", "map_numbers", "map_picture", "read_map"]

_GREY = ("1", "L", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_COLOUR = ("RGB", "RGBA", "LA", "CMYK", "YCbCr", "LAB", "HSV", "PA")


@dataclass(frozen=True, kw_only=True)
class MapFormat:
    """How the numbers of a file become those of a map: times ``scale``, plus ``offset``; or their logarithms.

    A depth in millimetres of which 0 is unknown has ``MapFormat(scale=0.001, unknown=(0,))``, in metres.
    """

    scale: float = 1.0
    offset: float = 0.0
    unknown: tuple[float, ...] = ()
    """Numbers of the file that say that nothing is known; so do those that are not finite."""
    log: bool = False
    """Whether first of all one is added to a number and its natural logarithm taken; then numbers of -1 and
    less say nothing, either."""

    def __post_init__(self) -> None:
        if not np.isfinite(self.scale) or self.scale == 0 or not np.isfinite(self.offset):
            raise OptionError(
                f"scale must be finite and not 0, and offset finite, got {self.scale} and {self.offset}."
            )

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild from a mapping of its fields, also after JSON."""
        return cls(**{**state, "unknown": tuple(state["unknown"])})


def read_map(item: Any, form: MapFormat = MapFormat()) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Numbers ``[C, H, W]`` of a map, zero where nothing is known, and where something is ``[H, W]``.

    Args:
        item: A path or bytes of a picture of 8, 16 or 32 bits, or of floats, or a part of one; a ``.npy``
            file; or an array ``[H, W]`` or ``[H, W, C]``.
        form: What the numbers in it mean.

    Raises:
        DataError: there is no such file, it is not a whole map, or one with a palette, whose numbers are no
            quantities.
        MissingExtraError: Pillow is not installed, and the item is no array.

    Example:
        >>> depth = np.array([[0, 1500], [2000, 65535]], dtype=np.uint16)
        >>> values, known = read_map(depth, MapFormat(scale=0.001, unknown=(0, 65535)))
        >>> values[0].tolist(), known.tolist()
        ([[0.0, 1.5], [2.0, 0.0]], [[False, True], [True, False]])
    """
    numbers = map_numbers(item).astype(np.float64)
    unknown = np.isin(numbers, form.unknown)
    if form.log:
        numbers = np.log1p(np.where(numbers > -1, numbers, np.nan))
    told = np.isfinite(numbers) & ~unknown
    known: NDArray[np.bool_] = np.logical_and.reduce(told, axis=-1)
    values = np.where(known[..., None], numbers, 0) * form.scale + form.offset
    return np.where(known, values.transpose(2, 0, 1), 0).astype(np.float32), known


def map_numbers(item: Any, *, by_number: bool = False, channel: int | None = None) -> NDArray[Any]:
    """The numbers in a map ``[H, W, C]``, as they are stored; of a palette those of its colours, if asked.

    Args:
        item: As of `read_map`.
        by_number: Whether a palette's numbers are asked for, and one per pixel.
        channel: Which of several is that one.

    Raises:
        DataError: as of `read_map`; or several numbers per pixel, if asked for one.
    """
    found = item if isinstance(item, np.ndarray) else _read(item, by_number=by_number)
    if found.ndim not in (2, 3) or 0 in found.shape or found.dtype.kind not in "buif":
        raise DataError(
            f"a map must be numbers [H, W] or [H, W, C], got {found.dtype} of shape {found.shape}"
        )
    if channel is not None and found.ndim == 3 and found.shape[2] > channel:
        found = found[..., channel]
    if by_number and found.ndim == 3 and found.shape[2] != 1:
        raise DataError(
            f"labels must have one number per pixel, got {found.shape[2]}. If colours stand for labels, say "
            "which: give a palette"
        )
    return np.atleast_3d(found)


def _read(item: Any, *, by_number: bool) -> NDArray[Any]:
    if isinstance(item, PicturePart):
        return item.cut(_read(item.path, by_number=by_number))
    if isinstance(item, Path) and item.suffix.lower() == ".npy":
        try:
            return np.asarray(np.load(item, allow_pickle=False))
        except FileNotFoundError:
            raise DataError("no such file") from None
        except (OSError, ValueError) as error:
            raise DataError(f"not a whole array: {reason_of(error)}") from None
    mode, pixels = map_picture(item)
    if mode == "P" and not by_number:
        raise DataError("a map must be numbers, got a picture with a palette")
    if mode not in (*_GREY, *_COLOUR, "P"):
        raise DataError(f"a map must be of a known kind of pixels, got {mode!r}")
    return pixels


def map_picture(item: Any, *, colours: bool = False) -> tuple[str, NDArray[Any]]:
    """Kind of pixels, as Pillow calls it, and their numbers; or their red, green and blue.

    Raises:
        DataError: there is no such file, or it is not a whole picture.
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingExtraError(
            "Reading pictures needs Pillow. Install it with: pip install 'fuseloom[vision]'"
        ) from None
    try:
        with open_item(item) as file, Image.open(file) as picture:
            check_pixels(picture.width, picture.height)
            return picture.mode, np.asarray(picture.convert("RGB") if colours else picture)
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError("not a picture in a known format") from None
    except Exception as error:  # decoders of damaged bytes fail in ways that nobody lists
        raise DataError(f"not a whole picture: {reason_of(error)}") from None
