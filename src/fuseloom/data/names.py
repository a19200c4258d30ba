"""Names of modalities, made from names of columns."""

import csv
import re
import unicodedata
from collections.abc import Collection

from fuseloom.errors import ModalityError
from fuseloom.part import check_dims

__all__ = ["check_name", "modality_name", "split_group"]


def modality_name(column: str) -> str:
    """Spell a column's name with letters, digits, ``_`` and ``-`` only.

    Example:
        >>> modality_name("Größe (cm)")
        'Gro_e_cm'
    """
    letters = unicodedata.normalize("NFKD", column)
    kept = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return re.sub(r"[^A-Za-z0-9-]+", "_", kept).strip("_")


def check_name(name: str, *, origin: str, advice: str) -> str:
    """Return a name that a model can carry.

    Args:
        name: The modality.
        origin: Where the name comes from, to begin the message.
        advice: How to give another, to end it.

    Raises:
        ModalityError: the rules of `fuseloom.part.check_dims` refuse it.
    """
    try:
        check_dims({name: 1}, (1, None), owner=origin)
    except ModalityError as error:
        raise ModalityError(f"{origin} cannot be a modality. {error} {advice}") from None
    return name


def split_group(entry: str, columns: Collection[str]) -> tuple[str | None, list[str]]:
    """Read ``NAME=COLUMN,COLUMN``; a column with a comma in its name is quoted, as in a CSV file.

    Example:
        >>> split_group("weather=temp,wind", ["temp", "wind"])
        ('weather', ['temp', 'wind'])
        >>> split_group("a=b", ["a=b"])
        (None, ['a=b'])
    """
    if entry in columns:
        return None, [entry]
    name, equals, rest = entry.partition("=")
    listed = next(csv.reader([rest if equals else entry], skipinitialspace=True), [])
    if equals and rest in columns:
        listed = [rest]
    return (name.strip() if equals else None), [column.strip() for column in listed]
