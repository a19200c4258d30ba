"""Pairs of pictures and recordings as files, as a person has them."""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.av_digits import AVDigits
from fuseloom.data.media import Sound
from fuseloom.errors import DataError, MissingExtraError

__all__ = ["write_av_digits"]


def write_av_digits(rows: AVDigits, folder: Path) -> Path:
    """Write a PNG and a WAV file for each row, and the table that joins them.

    Args:
        rows: Of `make_av_digits`.
        folder: Made where it is not there; it must hold nothing.

    Returns:
        The table: ``rows.csv`` with columns ``id``, ``image``, ``audio``, ``split`` and ``digit``.

    Raises:
        DataError: the folder holds something.
        MissingExtraError: Pillow or soundfile is not installed.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder.name} must be a new or an empty folder, got one that holds something.")
    for part in ("images", "recordings"):
        (folder / part).mkdir(parents=True)
    lines = []
    for place, name in enumerate(rows.ids):
        image, audio = Path("images", f"{name}.png"), Path("recordings", f"{name}.wav")
        _write_picture(folder / image, rows.image[place])
        _write_recording(folder / audio, rows.audio[place])
        lines.append([name, image.as_posix(), audio.as_posix(), rows.split[place], rows.target[place]])
    table = folder / "rows.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "image", "audio", "split", "digit"], *lines])
    return table


def _write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError(
            "Writing pictures needs Pillow. Install it with: pip install 'fuseloom[vision]'"
        ) from None
    Image.fromarray(pixels).save(path)


def _write_recording(path: Path, recording: Path | Sound) -> None:
    if isinstance(recording, Path):
        path.write_bytes(recording.read_bytes())
        return
    try:
        import soundfile
    except (ImportError, OSError):  # the second where its library is absent
        raise MissingExtraError(
            "Writing recordings needs soundfile. Install it with: pip install 'fuseloom[audio]'"
        ) from None
    # Loud noise passes full scale, which only a file of floating numbers holds uncut.
    soundfile.write(path, recording.samples, recording.rate, subtype="FLOAT")
