"""Maps of numbers and of labels over the pixels of a scene: depth, temperature, what is where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.media import check_pixels, open_item, reason_of
from fuseloom.errors import DataError, MissingExtraError, OptionError

__all__ = ["IGNORED", "MapFormat", "read_labels", "read_map"]

IGNORED = 255
"""The label of pixels that are not to be learnt from or scored."""

_GREY = ("1", "L", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_COLOUR = ("RGB", "RGBA", "LA", "CMYK", "YCbCr", "LAB", "HSV", "PA")


@dataclass(frozen=True, kw_only=True)
class MapFormat:
    """How the numbers of a file become those of a map: times ``scale``, plus ``offset``.

    A depth in millimetres of which 0 is unknown has ``MapFormat(scale=0.001, unknown=(0,))``, in metres.
    """

    scale: float = 1.0
    offset: float = 0.0
    unknown: tuple[float, ...] = ()
    """Numbers of the file that say that nothing is known; so do those that are not finite."""

    def __post_init__(self) -> None:
        if not np.isfinite(self.scale) or self.scale == 0 or not np.isfinite(self.offset):
            raise OptionError(
                f"scale must be finite and not 0, and offset finite, got {self.scale} and {self.offset}."
            )


def read_map(item: Any, form: MapFormat = MapFormat()) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Numbers ``[C, H, W]`` of a map, zero where nothing is known, and where something is ``[H, W]``.

    Args:
        item: A path or bytes of a picture of 8, 16 or 32 bits, or of floats; a ``.npy`` file; or an array
            ``[H, W]`` or ``[H, W, C]``.
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
    numbers = _numbers(item)
    told = np.isfinite(numbers) & ~np.isin(numbers, form.unknown)
    known: NDArray[np.bool_] = np.logical_and.reduce(told, axis=-1)
    values = np.where(known[..., None], numbers, 0) * form.scale + form.offset
    return np.where(known, values.transpose(2, 0, 1), 0).astype(np.float32), known


def read_labels(
    item: Any,
    num_labels: int,
    *,
    ignored: Sequence[int] = (IGNORED,),
    first: int = 0,
    palette: Mapping[tuple[int, int, int], int] | None = None,
) -> NDArray[np.uint8]:
    """Labels ``[H, W]`` of the pixels of a scene; ``IGNORED`` for those that do not count.

    Args:
        item: As of `read_map`, of whole numbers; a picture with a palette is read by its numbers.
        num_labels: How many labels there are, at most 255; they are counted from 0.
        ignored: Numbers that mean that a pixel does not count.
        first: The number of the first label; 1 in DeLiVER, where 0 does not count.
        palette: Colour -> label, for pictures that show labels in colours.

    Raises:
        DataError: as of `read_map`; or a number that is no label, or a colour that is none of the palette.
        OptionError: no labels, or too many.

    Example:
        >>> read_labels(np.array([[0, 2], [1, 255]]), 3).tolist()
        [[0, 2], [1, 255]]
    """
    if not 1 <= num_labels <= IGNORED:
        raise OptionError(f"num_labels must be from 1 to {IGNORED}, got {num_labels}.")
    if palette is not None:
        numbers = _of_palette(_colours(item), palette)
    else:
        numbers = _numbers(item, by_number=True)[..., 0]
    counted = ~np.isin(numbers, (*ignored, IGNORED))
    labels = numbers - first
    wrong = numbers[counted & ((labels < 0) | (labels >= num_labels) | (labels % 1 != 0))]
    if wrong.size:
        raise DataError(
            f"labels must be whole numbers from {first} to {first + num_labels - 1}, or one of "
            f"{list(ignored)} for pixels that do not count, got {wrong[0]:g} in {wrong.size} of "
            f"{labels.size} pixels"
        )
    return np.where(counted, labels, IGNORED).astype(np.uint8)


def _numbers(item: Any, *, by_number: bool = False) -> NDArray[np.float64]:
    """``[H, W, C]``, of a picture with a palette by its numbers, if that is what is asked for."""
    found = item if isinstance(item, np.ndarray) else _read(item, by_number=by_number)
    if found.ndim not in (2, 3) or 0 in found.shape or found.dtype.kind not in "buif":
        raise DataError(
            f"a map must be numbers [H, W] or [H, W, C], got {found.dtype} of shape {found.shape}"
        )
    if by_number and found.ndim == 3 and found.shape[2] != 1:
        raise DataError(
            f"labels must have one number per pixel, got {found.shape[2]}. If colours stand for labels, say "
            "which: give a palette"
        )
    return np.atleast_3d(found).astype(np.float64)


def _read(item: Any, *, by_number: bool) -> NDArray[Any]:
    if isinstance(item, Path) and item.suffix.lower() == ".npy":
        try:
            return np.asarray(np.load(item, allow_pickle=False))
        except (OSError, ValueError) as error:
            raise DataError(f"not a whole array: {reason_of(error)}") from None
    mode, pixels = _picture(item)
    if mode == "P" and not by_number:
        raise DataError("a map must be numbers, got a picture with a palette")
    if mode not in (*_GREY, *_COLOUR, "P"):
        raise DataError(f"a map must be of a known kind of pixels, got {mode!r}")
    return pixels


def _colours(item: Any) -> NDArray[Any]:
    if isinstance(item, np.ndarray):
        return item
    return _picture(item, colours=True)[1]


def _of_palette(colours: NDArray[Any], palette: Mapping[tuple[int, int, int], int]) -> NDArray[np.float64]:
    if colours.ndim != 3 or colours.shape[2] < 3:
        raise DataError(f"pictures of labels in colours must be [H, W, 3], got shape {colours.shape}")
    codes = _code(colours[..., :3].astype(np.int64))
    order = {int(_code(np.array(colour))): label for colour, label in palette.items()}
    known = np.array(sorted(order), dtype=np.int64)
    places = np.searchsorted(known, codes).clip(max=len(known) - 1)
    if (strange := known[places] != codes).any():
        first = tuple(colours[strange][0, :3].tolist())
        raise DataError(
            f"colours must be of the palette, got {first} in {int(strange.sum())} of {codes.size} pixels"
        )
    found: NDArray[np.float64] = np.array([order[int(code)] for code in known], dtype=np.float64)[places]
    return found


def _code(colours: NDArray[Any]) -> NDArray[np.int64]:
    code: NDArray[np.int64] = colours @ np.array([65536, 256, 1])
    return code


def _picture(item: Any, *, colours: bool = False) -> tuple[str, NDArray[Any]]:
    """Kind of pixels, and their numbers; or their red, green and blue."""
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
