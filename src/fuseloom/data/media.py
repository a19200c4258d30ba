"""Pictures and recordings: what an item of one may be, and how it is read.

An item is a path, the bytes of a file, a part of an archive or of a picture, or an array: pixels ``[H, W]``
or ``[H, W, C]``, samples ``[S]`` or ``[S, C]`` with their rate. Frames of a video are pictures one after
another.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from fuseloom.errors import DataError, MissingExtraError

__all__ = [
    "ArchivePart",
    "Frames",
    "PicturePart",
    "Sound",
    "check_pixels",
    "even_places",
    "frames_of",
    "is_audio_name",
    "is_image_name",
    "open_item",
    "picture_head",
    "read_audio",
    "read_image",
    "read_item",
    "reason_of",
    "shown_item",
]

T = TypeVar("T")

_IMAGE_ENDS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
_AUDIO_ENDS = (".wav", ".flac", ".ogg", ".oga", ".mp3", ".aif", ".aiff", ".au", ".opus")
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
"""What a camera says of how it was held, and where that makes a side a height."""
_MOST_PIXELS = 2**27
_LOWEST_RATE = 1000
_STREAMED = 2**32 - 1
"""What a WAV file says for its length when its writer did not know it."""


@dataclass(frozen=True)
class ArchivePart:
    """A file inside an archive that is not compressed: where its bytes lie."""

    path: Path
    name: str
    offset: int
    size: int

    def read(self) -> bytes:
        """Its bytes."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True)
class PicturePart:
    """Of a picture or map in a file some channels, as where the fourth is thermal, or the middle."""

    path: Path
    channels: tuple[int, ...] = ()
    """Counted from 0; all of them by default."""
    size: tuple[int, int] | None = None
    """Height and width of the middle that is kept; by default everything is."""

    def cut(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """This part of what is in the file, ``[H, W]`` or ``[H, W, C]``.

        Raises:
            DataError: it has too few channels, or is smaller than the middle should be.

        Example:
            >>> PicturePart(Path("1.png"), channels=(1,), size=(1, 2)).cut(np.arange(18).reshape(3, 3, 2))
            array([[[7],
                    [9]]])
        """
        if self.channels:
            count = pixels.shape[2] if pixels.ndim == 3 else 1
            if max(self.channels) >= count:
                raise DataError(f"must have {max(self.channels) + 1} channels or more, got {count}")
            pixels = np.atleast_3d(pixels)[..., list(self.channels)]
        if self.size is None:
            return pixels
        (high, wide), (whole_high, whole_wide) = self.size, pixels.shape[:2]
        if high > whole_high or wide > whole_wide:
            raise DataError(f"must be {wide} x {high} pixels or larger, got {whole_wide} x {whole_high}")
        top, left = (whole_high - high) // 2, (whole_wide - wide) // 2
        return pixels[top : top + high, left : left + wide]


@dataclass(frozen=True)
class Sound:
    """Samples ``[S]`` or ``[S, C]`` in memory, and how many there are per second."""

    samples: NDArray[Any]
    rate: int


@dataclass(frozen=True)
class Frames:
    """Pictures of one row in the order of time, each an item of its own; at least one."""

    pictures: tuple[Any, ...]


def frames_of(item: Any) -> tuple[Any, ...]:
    """The pictures of an item, of which most have one."""
    return item.pictures if isinstance(item, Frames) else (item,)


def even_places(count: int, wanted: int) -> list[int]:
    """The middles of as many equal parts of ``count`` things; some twice where there are fewer.

    Example:
        >>> even_places(9, 3), even_places(4, 1), even_places(2, 3)
        ([1, 4, 7], [2], [0, 1, 1])
    """
    return [(2 * part + 1) * count // (2 * wanted) for part in range(wanted)]


def is_image_name(name: str) -> bool:
    """Whether a file of that name is a picture, by its ending."""
    return name.lower().endswith(_IMAGE_ENDS)


def is_audio_name(name: str) -> bool:
    """Whether a file of that name is a recording, by its ending."""
    return name.lower().endswith(_AUDIO_ENDS)


def read_image(item: Any) -> NDArray[np.uint8]:
    """Pixels ``[H, W, 3]`` of any picture, upright and in RGB; transparency is laid on white.

    Sixteen-bit grey is scaled to eight; of an animation the first frame is read. `Frames` are laid side by
    side.

    Raises:
        DataError: there is no such file, or it is not a whole picture.
        MissingExtraError: Pillow is not installed.
    """
    if isinstance(item, Frames):
        return _strip([read_item(read_image, picture) for picture in item.pictures])
    if isinstance(item, np.ndarray):
        return _as_pixels(item)
    if isinstance(item, PicturePart):
        made: Callable[[Any], NDArray[Any]] = np.asarray if item.channels else _upright
        return _as_pixels(item.cut(_of_picture(item.path, made)))
    return _of_picture(item, _upright)


def picture_head(item: Any) -> tuple[str, tuple[int, int]]:
    """Kind of pixels, as Pillow calls it, and height and width of a picture, of which only the head is read.

    Raises:
        DataError: there is no such file, or it is no picture.
        MissingExtraError: Pillow is not installed.
    """
    if isinstance(item, np.ndarray):
        return "array", (item.shape[0], item.shape[1])
    if isinstance(item, PicturePart):
        kind, size = picture_head(item.path)
        return kind, item.size if item.size is not None else size
    return _of_picture(item, _head)


def _of_picture(item: Any, made: Callable[[Any], T]) -> T:
    """What is made of a picture while its file is open.

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
            return made(picture)
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError("not a picture in a known format") from None
    except Exception as error:  # decoders of damaged bytes fail in ways that nobody lists
        raise DataError(f"not a whole picture: {reason_of(error)}") from None


def read_audio(item: Any) -> tuple[NDArray[np.float32], int]:
    """Samples ``[S]`` between -1 and 1, channels averaged, and their rate in hertz.

    Raises:
        DataError: there is no such file, it is no recording, or it holds no sample.
        MissingExtraError: soundfile is not installed.
    """
    samples, rate = _given(item) if isinstance(item, Sound) else _decoded(item)
    if samples.size == 0:
        raise DataError("a recording without a sample")
    if rate < _LOWEST_RATE:
        raise DataError(f"a recording of {rate} samples per second, fewer than {_LOWEST_RATE}")
    if not np.isfinite(samples).all():
        raise DataError("a recording with samples that are not finite")
    mono = samples.mean(-1) if samples.ndim == 2 else samples
    return mono.astype(np.float32), rate


def open_item(item: Any) -> BinaryIO:
    """The bytes of an item that is no array, to be closed by who asked.

    Raises:
        DataError: there is no such file.
    """
    if isinstance(item, bytes):
        return io.BytesIO(item)
    if isinstance(item, ArchivePart):
        return io.BytesIO(item.read())
    path = Path(item)
    if path.exists() and not path.is_file():  # a pipe or device would never end
        raise DataError("a folder, not a file" if path.is_dir() else "not a regular file")
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise DataError("no such file") from None


def check_pixels(width: int, height: int) -> None:
    """Refuse a picture of more than 2^27 pixels.

    Raises:
        DataError: it is.
    """
    if width * height > _MOST_PIXELS:
        raise DataError(f"a picture of {width} x {height} pixels, more than {_MOST_PIXELS:,}")


def read_item(read: Callable[[Any], T], item: Any) -> T:
    """What ``read`` makes of an item.

    Raises:
        DataError: with the item's name before the reason.
    """
    try:
        return read(item)
    except DataError as error:
        raise DataError(f"{shown_item(item)}: {error}") from None


def reason_of(error: BaseException) -> str:
    """Why a file could not be read, in a few words for the end of a message."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    said = getattr(error, "error_string", str(error))  # of soundfile, without the name of our object
    return said.splitlines()[0].rstrip(".") if said else type(error).__name__


def shown_item(item: Any) -> str:
    """A name for messages."""
    if isinstance(item, ArchivePart):
        return f"{item.path.name}:{item.name}"
    if isinstance(item, Frames):
        first = item.pictures[0]
        folder = f"{first.parent.name}/" if isinstance(first, Path) else ""
        return f"{folder}{shown_item(first)} and {len(item.pictures) - 1} more"
    if isinstance(item, PicturePart):
        return item.path.name
    return item.name if isinstance(item, Path) else type(item).__name__.lower()


def _decoded(item: Any) -> tuple[NDArray[Any], int]:
    try:
        import soundfile
    except (ImportError, OSError):  # the second where its library is absent
        raise MissingExtraError(
            "Reading recordings needs soundfile. Install it with: pip install 'fuseloom[audio]'"
        ) from None
    try:
        with open_item(item) as file:
            _check_whole(file)
            with soundfile.SoundFile(file) as sound:
                promised, rate = sound.frames, sound.samplerate
                samples = sound.read(dtype="float32", always_2d=True)
    except DataError:
        raise
    except (soundfile.SoundFileError, OSError, ValueError, TypeError) as error:
        raise DataError(f"not a whole recording: {reason_of(error)}") from None
    if len(samples) < promised:
        raise DataError(f"not a whole recording: {len(samples)} of {promised} samples")
    return samples, int(rate)


def _check_whole(file: BinaryIO) -> None:
    """Refuse a WAV or AIFF file that is shorter than it says, which soundfile reads as far as it goes."""
    head = file.read(8)
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if head[:4] not in (b"RIFF", b"FORM"):
        return
    promised = int.from_bytes(head[4:], "little" if head.startswith(b"RIFF") else "big")
    if promised != _STREAMED and promised + 8 > size:
        raise DataError(f"not a whole recording: {size} of {promised + 8} bytes")


def _given(sound: Sound) -> tuple[NDArray[Any], int]:
    """Samples in memory, whole numbers scaled by their type."""
    samples = np.asarray(sound.samples)
    many = samples.ndim == 2 and samples.shape[1] > max(samples.shape[0], 1)
    if samples.ndim not in (1, 2) or samples.dtype.kind not in "iuf" or many:
        raise DataError(f"samples of {samples.dtype} in shape {samples.shape}, not numbers [S] or [S, C]")
    if samples.dtype.kind == "f":
        return samples, int(sound.rate)
    top = 2.0 ** (8 * samples.dtype.itemsize - 1)
    middle = top if samples.dtype.kind == "u" else 0.0
    return (samples - middle) / top, int(sound.rate)


def _strip(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    high = max(len(pixels) for pixels in pictures)
    return np.concatenate([np.pad(p, ((0, high - len(p)), (0, 0), (0, 0))) for p in pictures], axis=1)


def _head(picture: Any) -> tuple[str, tuple[int, int]]:
    wide, high = picture.size
    # Pillow decodes a whole PNG file to look for what most have no word of.
    asked = picture.format != "PNG" or "exif" in picture.info
    turned = asked and picture.getexif().get(_ORIENTATION) in _TURNED
    return picture.mode, (wide, high) if turned else (high, wide)


def _upright(picture: Any) -> NDArray[np.uint8]:
    from PIL import ImageOps

    return _rgb(ImageOps.exif_transpose(picture))


def _rgb(picture: Any) -> NDArray[np.uint8]:
    if picture.mode.startswith("I"):  # more than eight bits, which Pillow would cut off at 255
        return _as_pixels(np.clip(np.asarray(picture), 0, 2**16 - 1).astype(np.uint16))
    if picture.mode == "F":
        return _as_pixels(np.asarray(picture))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        from PIL import Image

        whole = picture.convert("RGBA")
        white = Image.new("RGBA", whole.size, "white")
        picture = Image.alpha_composite(white, whole)
    return np.asarray(picture.convert("RGB"), dtype=np.uint8)


def _as_pixels(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey or colour, in whole numbers (to 65,535 if of 16 bits, else to 255) or shares from 0 to 1."""
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[-1] not in (1, 3, 4) or 0 in values.shape:
        raise DataError(f"pixels of shape {values.shape}, not [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]")
    pixels = _eight_bits(values[..., :3])
    return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels


def _eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise DataError("pixels that are not finite")
    whole = 2.0**16 - 1 if values.dtype == np.uint16 else 255.0
    top = whole if values.dtype.kind in "iu" else 1.0
    if numbers.min(initial=0) < 0 or numbers.max(initial=0) > top:
        found = f"{numbers.min():g} to {numbers.max():g}"
        raise DataError(f"pixels of {values.dtype} from {found}, not from 0 to {top:g}: scale them")
    return np.round(numbers * (255 / top)).astype(np.uint8)
