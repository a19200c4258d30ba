"""Scenes as files: pictures, how many are written, and what is stated of the set."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.picture_files import picture_bytes

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["Progress", "counted", "jpeg", "write_facts"]

T = TypeVar("T")

Progress = Callable[[str], None]
"""Takes a line for a person."""

_STEP = 1000


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """A picture file of pixels ``[H, W, 3]``, with little loss, at full resolution of colours.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    return picture_bytes(pixels, "JPEG", quality=95, subsampling=0)


def counted(examples: Iterable[T], split: str, count: int, progress: Progress) -> Iterator[T]:
    """The same examples; every thousandth, and the last, is told.

    Example:
        >>> list(counted("ab", "test", 2, print))
        [2/2] test
        ['a', 'b']
    """
    for number, example in enumerate(examples, start=1):
        yield example
        if number % _STEP == 0 or number == count:
            progress(f"[{number}/{count}] {split}")


def write_facts(
    path: Path, settings: "DataclassInstance", stated: Mapping[str, "DataclassInstance"], **facts: object
) -> None:
    """Write what a set was drawn with, and what can be expected of it, as JSON.

    Args:
        path: The file.
        settings: Of the set.
        stated: Split -> its ceilings.
        facts: Others, such as the seed.
    """
    ceilings = {split: asdict(of_split) for split, of_split in stated.items()}
    every = {"settings": asdict(settings), **facts, "ceilings": ceilings}
    path.write_text(json.dumps(every, indent=2) + "\n", encoding="utf-8")
