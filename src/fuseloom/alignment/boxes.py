"""Alignments of boxes in a picture with the patches that an encoder cuts it into."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from fuseloom.errors import DataError, OptionError
from fuseloom.types import Alignment

__all__ = ["align_boxes"]

_SHARES = ("box", "patch")


def align_boxes(
    boxes: Sequence[Any],
    sizes: Sequence[tuple[float, float]],
    *,
    grid: tuple[int, int],
    share_of: Literal["box", "patch"] = "patch",
    least: float = 0.0,
) -> Alignment:
    """Align boxes (source) with the patches (target) of a picture that they overlap, row by row from the top.

    Where a class token stands in front of the patches, use ``.shift(target=1)``.

    Args:
        boxes: Those of each sample, ``[K, 4]`` as ``x1, y1, x2, y2``; what lies outside the picture is cut.
        sizes: Width and height of each picture in the units of the boxes; ``(1, 1)`` for relative boxes.
        grid: Rows and columns of patches.
        share_of: What a weight is the overlapped share of: the ``patch`` or the ``box``.
        least: The weight that a pair must exceed.

    Raises:
        DataError: another number of samples, or a box that is none.
        OptionError: a grid or ``least`` out of range, or unknown ``share_of``.

    Example:
        >>> pairs = align_boxes([[[0, 0, 15, 10]]], [(20, 20)], grid=(2, 2))
        >>> pairs.target_index, pairs.weight
        (tensor([[0, 1]]), tensor([[1.0000, 0.5000]]))
    """
    if min(grid) < 1 or not 0 <= least < 1:
        raise OptionError(f"grid must be positive and least in [0, 1), got {grid} and {least}.")
    if share_of not in _SHARES:
        raise OptionError(f"share_of must be one of {list(_SHARES)}, got {share_of!r}.")
    if len(boxes) != len(sizes):
        raise DataError(f"sizes must be of {len(boxes)} samples like boxes, got {len(sizes)}.")
    rows = []
    for sample, size in zip(boxes, sizes, strict=True):
        shares = _shares(_relative(sample, size), grid, share_of)  # [K, patches]
        found = [index.tolist() for index in torch.nonzero(shares > least, as_tuple=True)]
        rows.append(list(zip(*found, shares[shares > least].tolist(), strict=True)))
    return Alignment.from_pairs(rows)


def _relative(sample: Any, size: tuple[float, float]) -> Tensor:
    """Boxes ``[K, 4]`` of a picture of size one, cut to it."""
    boxes = torch.as_tensor(sample, dtype=torch.float64).reshape(-1, 4)
    if not (min(size) > 0 and boxes.isfinite().all() and (boxes[:, :2] <= boxes[:, 2:]).all()):
        raise DataError(
            f"Boxes must be x1 <= x2, y1 <= y2 in a picture of a size, got {boxes.tolist()} in {tuple(size)}."
        )
    return (boxes / torch.tensor([*size, *size], dtype=torch.float64)).clamp(0, 1)


def _shares(boxes: Tensor, grid: tuple[int, int], share_of: str) -> Tensor:
    rows, columns = grid
    down, across = (_overlaps(boxes[:, 1::2], rows), _overlaps(boxes[:, ::2], columns))
    area = (down[:, :, None] * across[:, None]).flatten(1)  # [K, rows * columns]
    if share_of == "patch":
        return area * (rows * columns)
    whole = area.sum(1, keepdim=True)
    return area / whole.masked_fill(whole == 0, 1)


def _overlaps(intervals: Tensor, count: int) -> Tensor:
    """Length of each interval ``[K, 2]`` in each of equal parts of [0, 1]: ``[K, count]``."""
    edges = torch.linspace(0, 1, count + 1, dtype=intervals.dtype)
    start, stop = intervals[:, :1], intervals[:, 1:]
    return (torch.minimum(stop, edges[1:]) - torch.maximum(start, edges[:-1])).clamp(min=0)
