"""What is learnt from training rows to make numbers of a modality: one class per kind."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.data.dataset import Dataset, Embedding, Modality, Table, Text
from fuseloom.errors import DataError

__all__ = [
    "PREPROCESSORS",
    "EmbeddingPreprocessor",
    "Preprocessor",
    "TablePreprocessor",
    "TextPreprocessor",
    "encode",
    "fit_preprocessors",
]

_CLIP = 10.0
_CHUNK = 4096
Encoded = tuple[NDArray[np.float32] | NDArray[np.uint8], NDArray[np.bool_]]


@dataclass(frozen=True, kw_only=True)
class Preprocessor(ABC):
    """What was learnt from the training rows of one modality, ready to be applied to any row.

    Standardised values are cut at ten standard deviations, so that a broken sensor or a typing error cannot
    dominate a model (or overflow in half precision).
    """

    kind: ClassVar[str]
    notes: tuple[str, ...] = ()
    """What happened to the rows it was fitted on."""

    @classmethod
    @abstractmethod
    def fit(cls, modality: Any, rows: NDArray[np.intp]) -> Self:
        """Learn from the given rows only."""

    @abstractmethod
    def apply(self, modality: Any) -> Encoded:
        """Values ready to become a tensor, and their mask (True = real).

        Raises:
            DataError: the modality has not the width or columns it had in training.
        """

    @abstractmethod
    def encoder_options(self) -> dict[str, Any]:
        """Options of the encoder of this kind."""

    def state(self) -> dict[str, Any]:
        """What `from_state` needs, in types that JSON knows."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild from `state`, also after JSON has made lists of tuples.

        Raises:
            DataError: entries are missing or unknown.
        """
        try:
            return cls(**{name: _tuples(value) for name, value in state.items()})
        except TypeError:
            raise DataError(
                f"The state of a {cls.kind} preprocessor must have its entries, got {sorted(state)}."
            ) from None


@dataclass(frozen=True, kw_only=True)
class EmbeddingPreprocessor(Preprocessor):
    """Standardises each feature by mean and standard deviation over real training rows (or tokens).

    A constant feature is only centred. A row (or token) with an entry that is not finite is masked.
    """

    kind = "embedding"
    mean: tuple[float, ...]
    std: tuple[float, ...]
    tokens: bool
    """Whether values have three axes."""

    @classmethod
    def fit(cls, modality: Embedding, rows: NDArray[np.intp]) -> Self:
        """Learn from rows (or tokens) that are real and finite; count those that are not finite."""
        finite = _finite(modality)
        real = np.zeros(len(modality), dtype=np.bool_)
        real[rows] = True
        mean, std = _moments(modality.values, finite & (real if finite.ndim == 1 else real[:, None]))
        broken = int((modality.mask & ~finite).sum())
        tokens = modality.values.ndim == 3
        what = "tokens" if tokens else "rows"
        notes = (f"{broken} {what} have entries that are not finite and count as missing",) if broken else ()
        return cls(mean=tuple(mean.tolist()), std=_usable_std(std, mean), tokens=tokens, notes=notes)

    def apply(self, modality: Embedding) -> Encoded:
        """Values as they came, ``[N, D]`` or ``[N, T, D]``, standardised and zero where masked."""
        values, width = modality.values, len(self.mean)
        if values.shape[-1] == 0:
            shape = (len(values), 1) if self.tokens else (len(values),)
            return np.zeros((*shape, width), dtype=np.float32), np.zeros(shape, dtype=np.bool_)
        if values.shape[-1] != width or (values.ndim == 3) != self.tokens:
            expected = f"[N, T, {width}]" if self.tokens else f"[N, {width}]"
            raise DataError(f"Values must have shape {expected} as in training, got {values.shape}.")
        mask = _finite(modality)
        out = np.zeros(values.shape, dtype=np.float32)
        for part in _chunks(len(values)):
            real = mask[part]
            out[part][real] = _standardised(values[part][real], np.array(self.mean), np.array(self.std))
        return out, mask

    def encoder_options(self) -> dict[str, Any]:
        """Width of the values."""
        return {"in_dim": len(self.mean)}


@dataclass(frozen=True, kw_only=True)
class TablePreprocessor(Preprocessor):
    """Standardises numbers, NaN where missing, and numbers categories from 1, 0 where missing or not seen.

    Values are ``[N, C]``, numbers first. A row is masked where all its cells are missing.
    """

    kind = "table"
    numbers: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    categories: tuple[tuple[str, tuple[str, ...]], ...]
    """Column and the values seen in training, sorted."""

    @classmethod
    def fit(cls, modality: Table, rows: NDArray[np.intp]) -> Self:
        """Learn from the cells that are there."""
        mean: list[float] = []
        std: list[float] = []
        for column in modality.numbers.values():
            present = column[rows]
            present = present[np.isfinite(present)]
            mean.append(float(present.mean()) if len(present) else 0.0)
            std.append(float(present.std()) if len(present) else 1.0)
        seen = {
            name: {v for v in column[rows] if v is not None} for name, column in modality.categories.items()
        }
        return cls(
            numbers=tuple(modality.numbers),
            mean=tuple(mean),
            std=_usable_std(np.array(std), np.array(mean)),
            categories=tuple((name, tuple(sorted(values))) for name, values in seen.items()),
        )

    def apply(self, modality: Table) -> Encoded:
        """Values ``[N, C]`` and one mask entry per row."""
        names = [*self.numbers, *(name for name, _ in self.categories)]
        if missing := [n for n in names if n not in modality.numbers and n not in modality.categories]:
            raise DataError(f"Columns must be those of training, got no {missing[0]!r}.")
        out = np.empty((len(modality), len(names)), dtype=np.float32)
        real = np.zeros(len(modality), dtype=np.bool_)
        for i, name in enumerate(self.numbers):
            column = np.where(np.isfinite(modality.numbers[name]), modality.numbers[name], np.nan)
            out[:, i] = _standardised(column, np.array(self.mean[i]), np.array(self.std[i]))
            real |= ~np.isnan(column)
        for i, (name, values) in enumerate(self.categories, start=len(self.numbers)):
            codes = {value: code for code, value in enumerate(values, start=1)}
            column = modality.categories[name]
            out[:, i] = [codes.get(value, 0) for value in column]
            real |= np.array([value is not None for value in column])
        return out, real

    def encoder_options(self) -> dict[str, Any]:
        """Number of number columns, and codes per category column, 0 included."""
        cardinalities = [len(values) + 1 for _, values in self.categories]
        return {"num_numbers": len(self.numbers), "cardinalities": cardinalities}


@dataclass(frozen=True, kw_only=True)
class TextPreprocessor(Preprocessor):
    """Bytes of UTF-8, ``[N, T]``: ``T`` is the longest training text, at most ``max_bytes``.

    Longer texts are cut. A text that is missing or blank is masked as a whole.
    """

    kind = "text"
    max_bytes: ClassVar[int] = 512
    length: int

    @classmethod
    def fit(cls, modality: Text, rows: NDArray[np.intp]) -> Self:
        """Learn the length; count the texts, of all rows, that are cut."""
        longest = max((len(text) for text in _bytes(modality.values[rows])), default=0)
        length = min(max(longest, 1), cls.max_bytes)
        cut = sum(1 for text in _bytes(modality.values) if len(text) > length)
        notes = (f"{cut} of {len(modality)} texts are cut after {length} bytes",) if cut else ()
        return cls(length=length, notes=notes)

    def apply(self, modality: Text) -> Encoded:
        """Bytes ``[N, T]``, zero behind the end, and their mask."""
        texts = [text[: self.length] for text in _bytes(modality.values)]
        padded = bytearray(b"").join(text.ljust(self.length, b"\0") for text in texts)
        values = np.frombuffer(padded, dtype=np.uint8).reshape(len(texts), self.length)
        lengths = np.array([len(text) for text in texts], dtype=np.intp)
        return values, np.arange(self.length) < lengths[:, None]

    def encoder_options(self) -> dict[str, Any]:
        """None: bytes are the same 256 everywhere."""
        return {}


PREPROCESSORS: Mapping[str, type[Preprocessor]] = {
    cls.kind: cls for cls in (EmbeddingPreprocessor, TablePreprocessor, TextPreprocessor)
}
"""Kind of modality -> its preprocessor."""


def fit_preprocessors(dataset: Dataset, rows: NDArray[np.intp]) -> dict[str, Preprocessor]:
    """Fit one preprocessor per modality on the given rows, which should be those of training."""
    return {name: PREPROCESSORS[m.kind].fit(m, rows) for name, m in dataset.modalities.items()}


def encode(
    dataset: Dataset, preprocessors: Mapping[str, Preprocessor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Inputs and masks of all rows, in the order of the preprocessors.

    Raises:
        DataError: a modality is not there, or is not what it was in training.
    """
    inputs: dict[str, Tensor] = {}
    masks: dict[str, Tensor] = {}
    for name, preprocessor in preprocessors.items():
        values, mask = _applied(name, preprocessor, dataset.modalities.get(name))
        inputs[name], masks[name] = torch.from_numpy(values), torch.from_numpy(mask)
    return inputs, masks


def _applied(name: str, preprocessor: Preprocessor, modality: Modality | None) -> Encoded:
    found = modality.kind if modality is not None else "none"
    if modality is None or found != preprocessor.kind:
        raise DataError(
            f"Modality {name!r} must be of kind {preprocessor.kind!r} as in training, got {found}."
        )
    try:
        return preprocessor.apply(modality)
    except DataError as error:
        raise DataError(f"Modality {name!r}: {error}") from None


def _finite(modality: Embedding) -> NDArray[np.bool_]:
    finite = [np.isfinite(modality.values[part]).all(axis=-1) for part in _chunks(len(modality))]
    return modality.mask & np.concatenate(finite) if finite else modality.mask


def _moments(
    values: NDArray[np.float32], kept: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each feature over the kept rows or tokens, zero where none is kept."""
    count = max(int(kept.sum()), 1)

    def average(function: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.float64]:
        total = np.zeros(values.shape[-1])
        for part in _chunks(len(kept)):
            total += function(values[part][kept[part]].astype(np.float64)).sum(axis=0)
        return total / count

    mean = average(lambda rows: rows)
    return mean, np.sqrt(average(lambda rows: (rows - mean) ** 2))


def _chunks(rows: int) -> Iterator[slice]:
    """Slices of rows, so that float64 copies stay small."""
    return (slice(start, start + _CHUNK) for start in range(0, rows, _CHUNK))


def _usable_std(std: NDArray[np.float64], mean: NDArray[np.float64]) -> tuple[float, ...]:
    # The rounding of a constant's mean leaves a tiny deviation, which would blow up noise.
    constant = std <= 1e-12 * np.abs(mean)
    return tuple(np.where(constant | (std == 0), 1.0, std).tolist())


def _standardised(
    values: NDArray[np.float32] | NDArray[np.float64], mean: NDArray[np.float64], std: NDArray[np.float64]
) -> NDArray[np.float64]:
    standard: NDArray[np.float64] = (values.astype(np.float64) - mean) / std
    return np.clip(standard, -_CLIP, _CLIP)


def _bytes(texts: NDArray[np.object_]) -> list[bytes]:
    # A lone surrogate (of a broken scrape) cannot be encoded; its place is kept by a question mark.
    return [text.encode("utf-8", "replace") if text and not text.isspace() else b"" for text in texts]


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value
