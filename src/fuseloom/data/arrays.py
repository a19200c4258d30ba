"""Arrays of the user's own: a mapping of them in memory, or a folder of ``.npy`` files."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fuseloom.data.cells import Cells, as_strings, from_objects
from fuseloom.data.dataset import Embedding
from fuseloom.data.kinds import is_identifier
from fuseloom.data.source import Source, check_lengths
from fuseloom.data.tables import read_table
from fuseloom.errors import DataError

__all__ = ["as_column", "embedding", "read_folder", "read_mapping"]

_TARGETS = ("target", "labels")
_MAGIC = b"\x93NUMPY"


def read_mapping(source: Mapping[str, Any], *, target: str | None) -> Source:
    """Take entries of two or three axes as embeddings, those of one as columns.

    Args:
        source: Name -> array, tensor or list; equally long.
        target: The entry to predict; by default the one called ``target`` or ``labels``.

    Raises:
        DataError: entries of different lengths, of four axes or of other types.
    """
    if not source:
        raise DataError("The mapping must have an entry per modality, got none.")
    values = {str(name): _as_array(str(name), value) for name, value in source.items()}
    rows = check_lengths({name: len(value) for name, value in values.items()}, owner="The mapping")
    columns = {name: as_column(name, value) for name, value in values.items() if value.ndim == 1}
    return Source(
        name="arrays",
        source_format="arrays",
        ids=[str(row) for row in range(rows)],
        places=[f"row {row}" for row in range(rows)],
        columns=columns,
        arrays={name: embedding(name, value) for name, value in values.items() if value.ndim != 1},
        target=target if target is not None else _named_target(columns, owner="The mapping"),
    )


def read_folder(folder: Path, *, target: str | None) -> Source:
    """Read ``<modality>.npy`` and what describes the rows.

    That is ``labels.npy``, ``target.npy`` or the columns of ``labels.csv``, and optionally ``ids.npy``,
    ``split.npy`` and ``<modality>.mask.npy`` (True = real).

    Args:
        folder: Where they lie.
        target: What to predict; by default the only one that describes the rows.

    Raises:
        DataError: no array in the folder, one that is not a plain array of numbers or strings, or arrays of
            different lengths.
    """
    name = folder.resolve().name
    arrays = {path.stem: _load(path) for path in sorted(folder.glob("*.npy"))}
    masks = {n.removesuffix(".mask"): arrays.pop(n) for n in list(arrays) if n.endswith(".mask")}
    described = {n: arrays.pop(n) for n in (*_TARGETS, "ids", "split") if n in arrays}
    if not arrays:
        raise DataError(
            f"{name} must hold an array <modality>.npy per modality, or the files of a published set, "
            f"got {_listed(folder)}."
        )
    labels = _labels_csv(folder / "labels.csv")
    lengths = {n: _rows(n, value) for n, value in [*arrays.items(), *described.items()]}
    lengths |= {f"{n}.mask": _rows(f"{n}.mask", mask) for n, mask in masks.items()}
    if labels:
        lengths["labels.csv"] = len(next(iter(labels.values())))
    rows = check_lengths(lengths, owner=name)
    labels |= {n: as_column(n, value) for n, value in described.items() if n != "ids"}
    if unknown := sorted(masks.keys() - arrays.keys()):
        raise DataError(f"{unknown[0]}.mask.npy must stand beside {unknown[0]}.npy, got no such file.")
    columns = {n: as_column(n, value) for n, value in arrays.items() if value.ndim == 1 and n not in masks}
    return Source(
        name=name,
        source_format="arrays",
        ids=_ids(described.get("ids"), rows),
        places=[f"{name} row {row}" for row in range(rows)],
        columns=columns,
        labels=labels,
        arrays={n: embedding(n, v, masks.get(n)) for n, v in arrays.items() if n not in columns},
        target=target if target is not None else _only_target(labels, owner=name),
        split_column="split" if "split" in described else None,
    )


def embedding(name: str, values: NDArray[Any], mask: NDArray[Any] | None = None) -> Embedding:
    """Values ``[N]``, ``[N, D]`` or ``[N, T, D]`` as an embedding; a row (or token) of NaN alone is missing.

    Raises:
        DataError: another number of axes, no feature, or a mask that does not fit.
    """
    if values.ndim not in (1, 2, 3) or values.dtype.kind not in "biuf":
        raise DataError(
            f"{name!r} must be numbers [N, D] or [N, T, D], got {values.dtype} of shape {values.shape}. "
            "Encode images and the like to vectors first."
        )
    wide = values[:, None] if values.ndim == 1 else values
    if wide.shape[-1] == 0:
        raise DataError(f"{name!r} must have at least one feature, got shape {values.shape}.")
    with np.errstate(over="ignore"):
        numbers = np.array(wide, dtype=np.float32)
    real = np.asarray(~np.isnan(numbers).all(axis=-1))
    if mask is None:
        return Embedding(values=numbers, mask=real)
    if mask.dtype != np.bool_ or mask.shape != real.shape:
        raise DataError(
            f"{name}.mask.npy must be bool of shape {real.shape} (True = real), got {mask.dtype} of shape "
            f"{mask.shape}."
        )
    return Embedding(values=numbers, mask=real & mask)


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
    if isinstance(value, Sequence) and any(isinstance(item, str) or item is None for item in value):
        return np.array(value, dtype=object)
    try:
        array = np.asarray(value)
    except ValueError:
        raise DataError(f"{name!r} must have rows of equal length, got rows of different lengths.") from None
    if array.ndim == 0:
        raise DataError(f"{name!r} must have a value per row, got a single one.")
    return array


def _load(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        start = file.read(len(_MAGIC))
    if start != _MAGIC:
        what = "a pickle, which is never loaded" if start.startswith(b"\x80") else "another format"
        raise DataError(f"{path.name} must be an array written by numpy.save, got {what}.")
    try:
        # Mapped rather than read, so that float64 files are never in memory beside their float32 copy.
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(
            f"{path.name} must be a plain array of numbers or strings, got one that cannot be loaded: "
            f"{error}. Arrays of Python objects are pickles and never loaded: save numbers or strings."
        ) from None
    return array


def _rows(name: str, value: NDArray[Any]) -> int:
    if value.ndim == 0:
        raise DataError(f"{name}.npy must have a value per row, got a single one.")
    return len(value)


def _labels_csv(path: Path) -> dict[str, Cells]:
    if not path.is_file():
        return {}
    table = read_table(path)
    if table.set_aside:
        first = table.set_aside[0]
        raise DataError(
            "labels.csv must have one readable line per row of the arrays, got "
            f"{first.where}: {first.reason}."
        )
    return dict(table.columns)


def _named_target(columns: Iterable[str], *, owner: str) -> str | None:
    named = [name for name in columns if name in _TARGETS]
    if len(named) > 1:
        raise DataError(f"{owner} must say which is the target, got {named}. Name it with target (--target).")
    return named[0] if named else None


def _only_target(labels: Mapping[str, Cells], *, owner: str) -> str | None:
    named = _named_target(labels, owner=owner)
    others = [n for n, cells in labels.items() if n != "split" and not is_identifier(n, cells)]
    return others[0] if named is None and len(others) == 1 else named


def _ids(ids: NDArray[Any] | None, rows: int) -> list[str]:
    numbers = [str(row) for row in range(rows)]
    if ids is None:
        return numbers
    named = as_strings(as_column("ids", ids))
    return [number if name is None else str(name) for name, number in zip(named, numbers, strict=True)]


def _listed(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return "an empty folder"
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
