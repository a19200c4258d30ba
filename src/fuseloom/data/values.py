"""Values in memory, as a person has them: what kind of modality they are, or a column."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fuseloom.data.cells import Cells, from_objects
from fuseloom.data.dataset import Audio, Embedding, Image, Modality, Series
from fuseloom.data.media import ArchivePart, Frames, Sound, is_audio_name, is_image_name
from fuseloom.data.ragged import Problems, padded, stacked
from fuseloom.errors import DataError

__all__ = ["as_array", "as_column", "as_modality", "embedding", "is_column"]

_CHUNK = 4096
_CHANNELS = (1, 3, 4)


def is_column(value: Any) -> bool:
    """Whether values are one number or string per row."""
    return isinstance(value, np.ndarray) and value.ndim == 1


def as_array(name: str, value: object) -> NDArray[Any] | list[Any]:
    """An array of what a person gave; a list where every row is an array or a recording of its own.

    Paths become a column of strings.

    Raises:
        DataError: not a sequence of rows.
    """
    if isinstance(value, Sequence) and not isinstance(value, str | bytes) and any(map(_is_item, value)):
        return [
            item.detach().cpu().float().numpy() if isinstance(item, torch.Tensor) else item for item in value
        ]
    return _as_array(name, value)


def as_modality(
    name: str,
    value: NDArray[Any] | list[Any],
    problems: Problems,
    *,
    mask: NDArray[Any] | list[Any] | None = None,
    time: NDArray[Any] | list[Any] | None = None,
) -> Modality:
    """The modality that values of several per row are.

    Args:
        name: For messages.
        value: ``[N, D]`` or ``[N, T, D]`` (an embedding, with times a series), ``[N, H, W]`` of bytes,
            ``[N, H, W, C]`` or ``[N, C, H, W]`` (pictures), or a list of rows: arrays ``[D]`` or ``[T, D]``,
            pictures ``[H, W, C]``, recordings, parts of an archive, ``None`` where a row lacks it.
        problems: Where rows go that cannot be used, with the reason.
        mask: True where a row, or step, is real; a list of rows beside a list.
        time: ``[N, T]``, when each step was; a list of rows beside a list.

    Raises:
        DataError: values of another shape or type, or of several kinds.
    """
    found = _of_items(name, value, problems) if isinstance(value, list) else _of_array(name, value)
    lengths = [0 if item is None else len(item) for item in value] if isinstance(found, Embedding) else []
    if isinstance(mask, list):
        mask = padded(f"{name}.mask", mask, lengths, fill=False)
    if isinstance(time, list):
        time = padded(f"{name}.time", time, lengths, fill=np.nan)
    if mask is not None:
        found = _masked(name, found, mask)
    return found if time is None else _timed(name, found, time)


def embedding(name: str, values: NDArray[Any]) -> Embedding:
    """Values ``[N]``, ``[N, D]`` or ``[N, T, D]`` as an embedding; a row (or token) of NaN alone is missing.

    What is mapped from a file stays so.

    Raises:
        DataError: another number of axes, or no feature.
    """
    if values.ndim not in (1, 2, 3) or values.dtype.kind not in "biuf":
        raise DataError(
            f"{name!r} must be numbers [N, D] or [N, T, D], got {values.dtype} of shape {values.shape}. "
            "Pictures are [N, H, W], [N, H, W, C] or [N, C, H, W] of bytes."
        )
    wide = values[:, None] if values.ndim == 1 else values
    if 0 in wide.shape[1:]:
        raise DataError(f"{name!r} must have at least one feature, got shape {values.shape}.")
    numbers = wide if isinstance(wide, np.memmap) else _float32(wide)
    real = np.concatenate([~np.isnan(numbers[part]).all(axis=-1) for part in _parts(len(numbers))])
    return Embedding(values=numbers, mask=real)


def as_column(name: str, value: object) -> Cells:
    """One value per row: numbers as float64, anything else as strings.

    Raises:
        DataError: not one axis, or neither numbers nor strings.
    """
    array = _as_array(name, value)
    if array.ndim != 1:
        raise DataError(f"{name!r} must have one value per row, got shape {array.shape}.")
    if array.dtype.kind in "iuf":
        return array.astype(np.float64)
    if array.dtype.kind in "UbO":
        return from_objects(array.tolist(), name=name)
    raise DataError(f"{name!r} must be numbers or strings, got {array.dtype}.")


def _as_array(name: str, value: object) -> NDArray[Any]:
    if isinstance(value, torch.Tensor):
        tensor = value.detach().cpu()
        return tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()
    if isinstance(value, str | bytes) or not (hasattr(value, "__array__") or isinstance(value, Sequence)):
        raise DataError(f"{name!r} must be an array, a tensor or a list, got {type(value).__name__}.")
    if isinstance(value, Sequence) and any(isinstance(item, str | Path) or item is None for item in value):
        return np.array([str(item) if isinstance(item, Path) else item for item in value], dtype=object)
    try:
        array = np.asarray(value)
    except ValueError:
        raise DataError(f"{name!r} must have rows of equal length, got rows of different lengths.") from None
    if array.ndim == 0:
        raise DataError(f"{name!r} must have a value per row, got a single one.")
    return array


def _is_item(value: object) -> bool:
    return isinstance(value, Sound | ArchivePart | Frames | np.ndarray | torch.Tensor) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], list)
    )


def _of_items(name: str, items: list[Any], problems: Problems) -> Embedding | Image | Audio:
    """A row each: recordings, parts of an archive, pictures or other arrays."""
    held = np.empty(len(items), dtype=object)
    for row, item in enumerate(items):
        held[row] = item
    there = [item for item in items if item is not None]
    if all(isinstance(item, Sound) or _is_part(item, is_audio_name) for item in there):
        return Audio(items=held)
    if all(_is_picture(item) or _is_part(item, is_image_name) for item in there):
        return Image(items=held)
    if any(isinstance(item, Sound | ArchivePart) for item in there):
        kinds = sorted({type(item).__name__ for item in there})
        raise DataError(
            f"{name!r} must hold pictures, recordings or arrays only, got {' beside '.join(kinds)}."
        )
    return stacked(name, [None if item is None else _as_array(name, item) for item in items], problems)


def _is_part(item: object, matches: Callable[[str], bool]) -> bool:
    return isinstance(item, ArchivePart) and matches(item.name)


def _is_picture(item: object) -> bool:
    return isinstance(item, Frames) or (
        isinstance(item, np.ndarray) and (item.ndim == 3 or (item.ndim == 2 and item.dtype == np.uint8))
    )


def _of_array(name: str, value: NDArray[Any]) -> Embedding | Image:
    if value.ndim == 4 or (value.ndim == 3 and value.dtype == np.uint8):
        return _pictures(name, value)
    return embedding(name, value)


def _pictures(name: str, values: NDArray[Any]) -> Image:
    if values.ndim == 3:
        values = values[..., None]
    if values.shape[-1] not in _CHANNELS and values.shape[1] in _CHANNELS:
        values = values.transpose(0, 2, 3, 1)
    if values.shape[-1] not in _CHANNELS or values.dtype.kind not in "biuf" or 0 in values.shape:
        raise DataError(
            f"{name!r} must be pictures [N, H, W, C] or [N, C, H, W] of 1, 3 or 4 channels, got "
            f"{values.dtype} of shape {values.shape}."
        )
    items = np.empty(len(values), dtype=object)
    for row, pixels in enumerate(values):
        items[row] = None if pixels.dtype.kind == "f" and np.isnan(pixels).all() else pixels
    return Image(items=items)


def _masked(name: str, found: Embedding | Image | Audio, mask: NDArray[Any]) -> Embedding | Image | Audio:
    """The same with what is False in the mask missing."""
    real = found.mask if isinstance(found, Embedding) else np.ones(len(found), dtype=np.bool_)
    if mask.dtype != np.bool_ or mask.shape != real.shape:
        raise DataError(
            f"{name}.mask must be bool of shape {real.shape} (True = real), got {mask.dtype} of shape "
            f"{mask.shape}."
        )
    if isinstance(found, Embedding):
        return Embedding(values=found.values, mask=real & mask)
    items = found.items.copy()
    items[~mask] = None
    return type(found)(items=items)


def _timed(name: str, found: Embedding | Image | Audio, time: NDArray[Any]) -> Series:
    """Steps with the time of each."""
    if not isinstance(found, Embedding) or found.values.ndim != 3:
        raise DataError(f"{name}.time must stand beside steps [N, T, C], got other values.")
    if time.dtype.kind not in "iuf" or time.shape != found.mask.shape:
        raise DataError(
            f"{name}.time must be numbers of shape {found.mask.shape}, one per step, got {time.dtype} of "
            f"shape {time.shape}."
        )
    when = np.array(time, dtype=np.float64)
    real = found.mask & np.isfinite(when)
    latest = np.maximum.accumulate(np.where(real, when, -np.inf), axis=1)
    if len(back := np.flatnonzero((real & (when < latest)).any(axis=1))):
        raise DataError(
            f"{name}.time must not decrease within a row, got such in row {back[0]}. Sort the steps."
        )
    return Series(values=found.values, mask=real, time=when)


def _float32(values: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.array(values, dtype=np.float32)


def _parts(rows: int) -> list[slice]:
    """Slices of rows, at least one, so that what is mapped is not read at once."""
    return [slice(start, start + _CHUNK) for start in range(0, max(rows, 1), _CHUNK)]
