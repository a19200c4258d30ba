"""Sizes of Mix Transformers by name, or by their numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from fuseloom.errors import OptionError, did_you_mean
from fuseloom.models.dense.mit import MIT_SIZES, MitSize

__all__ = ["SMALL_MIT", "mit_size"]

SMALL_MIT = MitSize(
    dims=(24, 48, 96),
    depths=(1, 1, 2),
    num_heads=(1, 2, 4),
    reductions=(4, 2, 1),
    expansion=2,
    stem=(5, 2),
)
"""Ours, for one core and pictures of some 64 pixels: maps of half the sides, a quarter and an eighth."""


def mit_size(size: str | Mapping[str, Any]) -> str | MitSize:
    """That of a Mix Transformer: a published name, ``small``, or its numbers.

    Raises:
        OptionError: numbers that a size does not have, or not all that it has.

    Example:
        >>> mit_size({"dims": [8, 16], "depths": [1, 1], "num_heads": [1, 2], "reductions": [2, 1]}).dims
        (8, 16)
    """
    if isinstance(size, str):
        return SMALL_MIT if size == "small" else size
    known = [field.name for field in fields(MitSize)]
    if unknown := sorted(size.keys() - set(known)):
        hint = did_you_mean(unknown[0], known)
        raise OptionError(
            f"size must be one of {[*MIT_SIZES, 'small']}, or numbers for {known}, got {unknown[0]!r}.{hint}"
        )
    numbers: dict[str, Any] = {
        name: tuple(value) if isinstance(value, Sequence) else value for name, value in size.items()
    }
    try:
        return MitSize(**numbers)
    except TypeError as error:
        raise OptionError(f"size must have dims and depths, got {dict(size)}: {error}.") from None
