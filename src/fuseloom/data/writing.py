"""Rows as a person has them: files of pictures and recordings, and the table that joins them."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.apples import Apples, make_apples
from fuseloom.data.av_digits import AVDigits
from fuseloom.data.media import Sound
from fuseloom.errors import DataError, MissingExtraError, OptionError

__all__ = ["make_folders", "write_apples", "write_av_digits"]

_LACKING = 23
"""One apple in so many has no picture, as in most collections some have none."""
_LATER = 4
"""For so many apples to learn from, one was graded later."""


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
    make_folders(folder, "images", "recordings")
    lines = []
    for place, name in enumerate(rows.ids):
        image, audio = Path("images", f"{name}.png"), Path("recordings", f"{name}.wav")
        _write_picture(folder / image, rows.image[place])
        _write_recording(folder / audio, rows.audio[place])
        lines.append([name, image.as_posix(), audio.as_posix(), rows.split[place], rows.target[place]])
    return _write_table(folder / "rows.csv", [["id", "image", "audio", "split", "digit"], *lines])


def write_apples(folder: Path, *, rows: int = 900, seed: int = 0) -> Path:
    """Write apples as a shop might have them, with the faults that such a folder has.

    ``rows.csv`` is to learn from: some of its rows have no picture, one has a picture that was cut off, one
    stands there twice, and one was never graded. ``later.csv`` holds apples graded afterwards, and
    ``new.csv`` three without a grade, of which one has no picture.

    Args:
        folder: Made where it is not there; it must hold nothing.
        rows: Apples in ``rows.csv``, without the one that is repeated.
        seed: Of the apples, see `make_apples`.

    Returns:
        The table to learn from: columns ``photo``, ``note``, ``orchard``, ``days``, ``weight``, ``grade``.

    Raises:
        DataError: the folder holds something.
        OptionError: ``rows`` is under 10, too few for the faults.
        MissingExtraError: Pillow is not installed.
    """
    if rows < 10:
        raise OptionError(f"rows must be 10 or more, got {rows}.")
    later, new = rows // _LATER, 3
    apples = make_apples(rows + later + new, seed=seed)
    make_folders(folder, "photos")
    lines = [_apple_line(apples, row, folder) for row in range(len(apples.grade))]
    cut = folder / "photos" / "0004.png"
    cut.write_bytes(cut.read_bytes()[:700])
    lines[6][-1] = ""
    head = ["photo", "note", "orchard", "days", "weight", "grade"]
    to_predict = [line[:-1] for line in lines[rows + later :]]
    to_predict[1][0] = ""
    _write_table(folder / "later.csv", [head, *lines[rows : rows + later]])
    _write_table(folder / "new.csv", [head[:-1], *to_predict])
    return _write_table(folder / "rows.csv", [head, *lines[:rows], lines[0]])


def _apple_line(apples: Apples, row: int, folder: Path) -> list[str]:
    """Its cells; its picture is written, unless it is one of those that have none."""
    photo = f"photos/{row + 1:04}.png"
    if row % _LACKING == _LACKING - 1:
        photo = ""
    else:
        _write_picture(folder / photo, apples.photo[row])
    numbers = (str(apples.days[row]), str(apples.weight[row]))
    return [photo, apples.note[row], apples.orchard[row], *numbers, apples.grade[row]]


def make_folders(folder: Path, *parts: str) -> None:
    """Make folders within one that must hold nothing so far.

    Raises:
        DataError: it holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder.name} must be a new or an empty folder, got one that holds something.")
    for part in parts:
        (folder / part).mkdir(parents=True)


def _write_table(path: Path, lines: Iterable[Sequence[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    return path


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
