"""Predictions of whole pictures: enlarged to their size, in windows, at several scales, mirrored."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fuseloom.errors import OptionError, did_you_mean

__all__ = ["Enlarging", "enlarged", "in_windows", "over_scales"]

Enlarging = Literal["bilinear", "bicubic"]
_ENLARGING = ("bilinear", "bicubic")
_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)

_Maps = Mapping[str, Tensor]
_Masks = Mapping[str, Tensor | None] | None
_Model = Callable[[_Maps, _Masks], Tensor]
"""Maps and masks to predictions ``[B, ..., K, h, w]``, such as a `DenseModel`."""


def enlarged(outputs: Tensor, size: Sequence[int], *, mode: Enlarging = "bilinear") -> Tensor:
    """Predictions ``[B, ..., K, h, w]`` at another size, ``[B, ..., K, H, W]``.

    The losses of GeminiFusion, TokenFusion and CEN enlarge bilinearly, their scores on NYUDv2 by OpenCV's
    cubic kernel, which is ``bicubic``.

    Args:
        outputs: Scores of labels.
        size: ``(H, W)``.
        mode: How values between are found.

    Raises:
        OptionError: another mode.
    """
    if mode not in _ENLARGING:
        hint = did_you_mean(mode, _ENLARGING)
        raise OptionError(f"mode must be one of {list(_ENLARGING)}, got {mode!r}.{hint}")
    flat = outputs.flatten(0, -4)
    found = F.interpolate(flat, size=tuple(size), mode=mode, align_corners=False)
    return found.view(*outputs.shape[:-2], *size)


def in_windows(
    model: _Model, inputs: _Maps, masks: _Masks = None, *, window: Sequence[int], overlap: float = 0.5
) -> Tensor:
    """Predictions of pictures that are larger than a model was trained on, ``[B, ..., K, H, W]``.

    Each window is predicted by itself and enlarged to its size; where windows overlap, their scores are
    averaged. The last ones end where the picture does, so that no window is padded. A picture that is no
    larger than a window is one.

    Args:
        model: A `DenseModel`, in evaluation mode.
        inputs: Modality name -> ``[B, C, H, W]``.
        masks: Modality name -> ``[B, H, W]``.
        window: ``(h, w)`` in pixels.
        overlap: Share of a window that the next one has too, at least.

    Raises:
        OptionError: an empty window, or an overlap out of [0, 1).
    """
    if min(window) < 1 or not 0 <= overlap < 1:
        raise OptionError(
            f"window must be 1 pixel or more, and overlap in [0, 1), got {tuple(window)} and {overlap}."
        )
    height, width = next(iter(inputs.values())).shape[-2:]
    total: Tensor | None = None
    seen = next(iter(inputs.values())).new_zeros(height, width)
    for rows, columns in product(_parts(height, window[0], overlap), _parts(width, window[1], overlap)):
        part = {name: value[..., rows, columns] for name, value in inputs.items()}
        real = {n: None if m is None else m[..., rows, columns] for n, m in (masks or {}).items()}
        outputs = model(part, real)
        found = enlarged(outputs, (rows.stop - rows.start, columns.stop - columns.start))
        if total is None:
            total = found.new_zeros(*found.shape[:-2], height, width)
        total[..., rows, columns] += found
        seen[rows, columns] += 1
    assert total is not None
    return total / seen


def over_scales(
    model: _Model,
    inputs: _Maps,
    masks: _Masks = None,
    *,
    scales: Sequence[float] = _SCALES,
    mirror: bool = True,
    divisor: int = 32,
) -> Tensor:
    """Mean probabilities of labels over pictures that are seen at several scales, and mirrored too.

    Args:
        model: A `DenseModel`, in evaluation mode.
        inputs: Modality name -> ``[B, C, H, W]``; masked pixels must be zero.
        masks: Modality name -> ``[B, H, W]``.
        scales: Of the sides.
        mirror: Whether each is also seen from left to right.
        divisor: Scaled sides are rounded up to a multiple of it.

    Returns:
        ``[B, ..., K, H, W]``, of which the labels sum to one.

    Raises:
        OptionError: no scale, or one that is not above zero.
    """
    if not scales or min(scales) <= 0 or divisor < 1:
        raise OptionError(
            f"scales must be above 0, one at least, and divisor 1 or more, got {list(scales)} and {divisor}."
        )
    size = next(iter(inputs.values())).shape[-2:]
    found = []
    for scale in scales:
        sides = [-(-round(scale * side) // divisor) * divisor for side in size]
        maps = {n: F.interpolate(v, sides, mode="bilinear", align_corners=False) for n, v in inputs.items()}
        real = {n: None if m is None else _nearest(m, sides) for n, m in (masks or {}).items()}
        found.append(enlarged(model(maps, real), size).softmax(-3))
        if mirror:
            turned = {name: value.flip(-1) for name, value in maps.items()}
            back = {name: None if mask is None else mask.flip(-1) for name, mask in real.items()}
            found.append(enlarged(model(turned, back).flip(-1), size).softmax(-3))
    return torch.stack(found).mean(0)


def _parts(length: int, window: int, overlap: float) -> Iterator[slice]:
    """Where windows stand along a side, evenly, the first at its start and the last at its end."""
    if length <= window:
        yield slice(0, length)
        return
    step = max(1, int(window * (1 - overlap)))
    count = -(-(length - window) // step) + 1
    for number in range(count):
        start = round(number * (length - window) / (count - 1))
        yield slice(start, start + window)


def _nearest(mask: Tensor, sides: Sequence[int]) -> Tensor:
    return F.interpolate(mask[:, None].float(), list(sides), mode="nearest")[:, 0] > 0.5
