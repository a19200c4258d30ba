"""What a column holds: numbers, categories, text, paths of files, or nothing worth learning from."""

import re
from collections.abc import Callable, Collection

import numpy as np

from fuseloom.data.cells import Cells, as_numbers
from fuseloom.data.dataset import ColumnKind
from fuseloom.data.media import is_audio_name, is_image_name

__all__ = ["infer_kind", "is_identifier", "why_left_out"]

_CLEAR_SHARE = 0.95
_FEW_CATEGORIES = 20
_CATEGORY_SHARE = 0.05
_CATEGORY_LENGTH = 50
_CHUNK = 1000
_IDENTIFIER = re.compile(
    r"(.*[_ -])?(id|uuid|guid|index|key|nr)|unnamed.*|__index_level_\d+__", re.IGNORECASE
)
_CODE = re.compile(r"(?=.*[A-Za-z])(?=.*\d)[\x21-\x7e]+")  # one word of ASCII with a letter and a digit
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}.*)?")


def infer_kind(cells: Cells, *, decimal_comma: bool = False) -> ColumnKind:
    """Infer a column's kind from its cells.

    Numbers are numbers. Of strings: a number if at least 95 % of the cells that are there read as finite
    numbers; an image, audio or array if as many are paths of such files; a category if values are short,
    repeat, and are few for the number of rows; else text.

    Example:
        >>> infer_kind(np.array(["red", "blue", "red", "red"], dtype=object))
        'category'
    """
    present = _present(cells)
    if _mostly_numbers(cells, tolerated=(1 - _CLEAR_SHARE) * len(present), decimal_comma=decimal_comma):
        return "number"
    if (files := _files(present)) is not None:
        return files
    distinct = set(present)
    repeated = max(2, len(present) / 2)
    few = len(distinct) <= min(max(_FEW_CATEGORIES, _CATEGORY_SHARE * len(cells)), repeated)
    short = max(len(str(value)) for value in distinct) <= _CATEGORY_LENGTH
    return "category" if few and short else "text"


def is_identifier(name: str, cells: Cells) -> bool:
    """Whether a column names the rows: complete, distinct, and called so or made of codes like ``k17``."""
    present = _present(cells)
    if not (_IDENTIFIER.fullmatch(name) or all(isinstance(c, str) and _CODE.fullmatch(c) for c in present)):
        return False
    if len(present) < len(cells) or len(set(present)) < len(cells):
        return False
    numbers, unreadable = as_numbers(cells)
    return bool(unreadable.any() or np.all(numbers == np.round(numbers)))


def why_left_out(name: str, cells: Cells) -> str | None:
    """The reason to leave a column out unless someone asks for it, or ``None``."""
    present = _present(cells)
    if len(present) == 0:
        return "no value"
    if len(present) == len(cells) and len(set(present)) == 1:
        return "constant"
    if is_identifier(name, cells):
        return "identifier"
    return "date" if all(isinstance(cell, str) and _DATE.fullmatch(cell) for cell in present) else None


def _mostly_numbers(cells: Cells, *, tolerated: float, decimal_comma: bool) -> bool:
    if cells.dtype != np.object_:
        return True
    # In chunks, so that a long column of text is known as such after its first twentieth.
    unreadable = 0
    for start in range(0, len(cells), _CHUNK):
        _, bad = as_numbers(cells[start : start + _CHUNK], decimal_comma=decimal_comma)
        unreadable += int(bad.sum())
        if unreadable > tolerated:
            return False
    return True


def _files(present: Collection[str | float]) -> ColumnKind | None:
    kinds: dict[ColumnKind, Callable[[str], bool]] = {
        "image": is_image_name,
        "audio": is_audio_name,
        "array": lambda name: name.lower().endswith(".npy"),
    }
    for kind, matches in kinds.items():
        share = sum(isinstance(cell, str) and matches(cell) for cell in present)
        if share >= _CLEAR_SHARE * len(present):
            return kind
    return None


def _present(cells: Cells) -> Collection[str | float]:
    if cells.dtype == np.object_:
        return [cell for cell in cells if cell]
    present: list[float] = cells[~np.isnan(cells.astype(np.float64, copy=False))].tolist()
    return present
