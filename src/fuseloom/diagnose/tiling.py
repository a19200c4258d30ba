"""Positions that tile a picture."""

from math import isqrt

from torch import Tensor

__all__ = ["tiling"]


def tiling(count: int, value: Tensor | None) -> tuple[int, int] | None:
    """Rows and columns of so many positions that tile a picture evenly; None where they do not.

    Args:
        count: Of positions.
        value: Pictures ``[B, C, H, W]``; anything else is none.

    Example:
        >>> import torch
        >>> tiling(8, torch.zeros(1, 3, 20, 40)), tiling(7, torch.zeros(1, 3, 20, 40))
        ((2, 4), None)
    """
    if value is None or value.dim() != 4:
        return None
    high, wide = value.shape[2:]
    rows = isqrt(count * high // wide)
    fits = rows > 0 and count % rows == 0 and rows * wide == count // rows * high
    return (rows, count // rows) if fits else None
