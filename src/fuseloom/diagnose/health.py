"""The health of the data themselves: balance, gaps, columns that say nothing, rows in two splits."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.data import Dataset
from fuseloom.data.dataset import Embedding, Modality, Series, Table
from fuseloom.types import Batch

__all__ = ["Duplicate", "Health", "Spread", "health"]

_MOST_SHOWN = 50
_CHUNK = 256


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Where the numbers of a target lie."""

    least: float
    median: float
    greatest: float
    mean: float
    deviation: float
    """Standard deviation."""


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """Two rows of different splits that look the same to every model."""

    row: str
    split: str
    other: str
    other_split: str


@dataclass(frozen=True, kw_only=True)
class Health:
    """What to know of data before a score on them is trusted; of the first fold."""

    balance: dict[str, dict[str, int]]
    """Class -> split -> rows; empty where numbers are predicted."""
    spread: dict[str, Spread]
    """Split -> its targets; empty where classes are predicted."""
    missing: dict[str, dict[str, int]]
    """Modality -> split -> rows that lack it."""
    constant: dict[str, tuple[str, ...]]
    """Modality -> columns or features that have one value in all training rows, at most 50."""
    num_duplicates: int
    """Rows of a split that another split holds too."""
    duplicates: tuple[Duplicate, ...]
    """The first of them, at most 50."""


def health(
    dataset: Dataset, rows: Batch, split: Mapping[str, NDArray[np.intp]], *, target: NDArray[Any]
) -> Health:
    """Look at the rows of a split as they were read, and as every model gets them.

    Args:
        dataset: What was read.
        rows: The same rows encoded, all of them, with their masks.
        split: ``train``, ``valid``, ``test`` -> row numbers.
        target: Of each row ``[N]``: strings for names of classes, or numbers.

    Example:
        >>> from fuseloom.data import load
        >>> rows = Batch(inputs={"a": torch.tensor([[1.0], [2.0], [1.0]])}, masks={})
        >>> dataset = load({"a": rows.inputs["a"].numpy()}, target=np.array(["x", "y", "x"]))
        >>> split = {"train": np.array([0, 1]), "test": np.array([2])}
        >>> found = health(dataset, rows, split, target=np.array(["x", "y", "x"]))
        >>> found.num_duplicates, found.balance["x"]
        (1, {'train': 1, 'test': 1})
    """
    pairs = _duplicates(rows, split)
    classes = target.dtype.kind in "OUS"
    return Health(
        balance=_balance(target, split) if classes else {},
        spread={} if classes else {part: _spread(target[places]) for part, places in split.items()},
        missing={name: _missing(rows.masks.get(name), split) for name in rows.inputs},
        constant={
            name: tuple(_constant(modality, split["train"])[:_MOST_SHOWN])
            for name, modality in dataset.modalities.items()
        },
        num_duplicates=len(pairs),
        duplicates=tuple(
            Duplicate(row=dataset.ids[row], split=part, other=dataset.ids[other], other_split=other_part)
            for row, part, other, other_part in pairs[:_MOST_SHOWN]
        ),
    )


def _balance(target: NDArray[Any], split: Mapping[str, NDArray[np.intp]]) -> dict[str, dict[str, int]]:
    counts = {part: Counter(map(str, target[places])) for part, places in split.items()}
    names = sorted(set().union(*counts.values()), key=lambda name: -sum(c[name] for c in counts.values()))
    return {name: {part: count[name] for part, count in counts.items()} for name in names}


def _spread(numbers: NDArray[np.floating[Any]]) -> Spread:
    return Spread(
        least=float(numbers.min()),
        median=float(np.median(numbers)),
        greatest=float(numbers.max()),
        mean=float(numbers.mean()),
        deviation=float(numbers.std()),
    )


def _missing(mask: Tensor | None, split: Mapping[str, NDArray[np.intp]]) -> dict[str, int]:
    if mask is None:
        return dict.fromkeys(split, 0)
    there = mask.reshape(len(mask), -1).any(1).cpu().numpy()
    return {part: int((~there[places]).sum()) for part, places in split.items()}


def _constant(modality: Modality, train: NDArray[np.intp]) -> list[str]:
    """Columns of a table, or features of vectors and series, without two different values."""
    if isinstance(modality, Table):
        columns = {**modality.numbers, **modality.categories}
        return [name for name, column in columns.items() if _is_constant(column[train])]
    if not isinstance(modality, Embedding | Series):
        return []
    low, high = np.full(modality.values.shape[-1], np.inf), np.full(modality.values.shape[-1], -np.inf)
    for start in range(0, len(train), _CHUNK):
        chunk = modality.take(train[start : start + _CHUNK])
        known = np.where(chunk.mask[..., None] & np.isfinite(chunk.values), chunk.values, np.nan)
        flat = known.reshape(-1, known.shape[-1])
        low = np.fmin(low, np.fmin.reduce(flat))
        high = np.fmax(high, np.fmax.reduce(flat))
    return [f"feature {place}" for place in np.flatnonzero(low >= high)]


def _is_constant(column: NDArray[Any]) -> bool:
    """Whether all values, missing ones counting as one, are the same."""
    values = {None if value is None or value != value else value for value in column.tolist()}
    return len(values) < 2


def _duplicates(rows: Batch, split: Mapping[str, NDArray[np.intp]]) -> list[tuple[int, str, int, str]]:
    """Rows that an earlier split holds too, with where it was seen there."""
    seen: dict[bytes, tuple[int, str]] = {}
    found = []
    for part, places in split.items():
        for row, digest in zip(places.tolist(), _digests(rows, places), strict=True):
            earlier = seen.setdefault(digest, (row, part))
            if earlier[1] != part:
                found.append((row, part, *earlier))
    return found


def _digests(rows: Batch, places: NDArray[np.intp]) -> Iterator[bytes]:
    """Of each row with all its modalities; what is masked does not count."""
    for start in range(0, len(places), _CHUNK):
        chunk = rows.take(torch.from_numpy(places[start : start + _CHUNK]))
        tables = [_visible(value, chunk.masks.get(name)) for name, value in chunk.inputs.items()]
        for row in range(len(chunk)):
            digest = hashlib.blake2b(digest_size=16)
            for table in tables:
                digest.update(table[row].tobytes())
            yield digest.digest()


def _visible(value: Tensor, mask: Tensor | None) -> NDArray[Any]:
    """The values and the mask of each row, ``[B, ...]`` to ``[B, F]``, zero where masked."""
    if mask is None:
        mask = torch.ones(len(value), dtype=torch.bool)
    shown = mask.reshape(*mask.shape, *[1] * (value.dim() - mask.dim()))
    if value.dim() == 4 and mask.dim() == 3:  # a feature map has its channels first
        shown = mask[:, None]
    kept = value.masked_fill(~shown, 0).cpu().numpy().reshape(len(value), -1)
    there = mask.any(-1, keepdim=True) if mask.dim() > 1 else mask[:, None]
    flags = there.cpu().numpy().reshape(len(value), -1)
    return np.concatenate([np.ascontiguousarray(kept).view(np.uint8), flags.view(np.uint8)], axis=1)
