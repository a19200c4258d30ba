"""Vectors, and sequences of them."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Embedding
from fuseloom.data.preprocessing._base import (
    Encoded,
    Preprocessor,
    chunks,
    moments,
    standardised,
    usable_std,
)
from fuseloom.errors import DataError

__all__ = ["EmbeddingPreprocessor"]


@dataclass(frozen=True, kw_only=True)
class EmbeddingPreprocessor(Preprocessor):
    """Standardises each feature by mean and standard deviation over real training rows (or tokens).

    A constant feature is only centred. A row (or token) with an entry that is not finite is masked.
    """

    kind = "embedding"
    reads = "embedding"
    mean: tuple[float, ...]
    std: tuple[float, ...]
    tokens: bool
    """Whether values have three axes."""

    @classmethod
    def fit(cls, modality: Embedding, rows: NDArray[np.intp]) -> Self:
        """Learn from rows (or tokens) that are real and finite; count those that are not finite."""
        finite = _finite_rows(modality)
        real = np.zeros(len(modality), dtype=np.bool_)
        real[rows] = True
        mean, std = moments(modality.values, finite & (real if finite.ndim == 1 else real[:, None]))
        broken = int((modality.mask & ~finite).sum())
        tokens = modality.values.ndim == 3
        what = "tokens" if tokens else "rows"
        notes = (f"{broken} {what} have entries that are not finite and count as missing",) if broken else ()
        return cls(mean=tuple(mean.tolist()), std=usable_std(std, mean), tokens=tokens, notes=notes)

    def apply(self, modality: Embedding) -> Encoded:
        """Values as they came, ``[N, D]`` or ``[N, T, D]``, standardised and zero where masked."""
        values, width = modality.values, len(self.mean)
        if values.shape[-1] == 0:
            shape = (len(values), 1) if self.tokens else (len(values),)
            return np.zeros((*shape, width), dtype=np.float32), np.zeros(shape, dtype=np.bool_)
        if values.shape[-1] != width or (values.ndim == 3) != self.tokens:
            expected = f"[N, T, {width}]" if self.tokens else f"[N, {width}]"
            raise DataError(f"Values must have shape {expected} as in training, got {values.shape}.")
        mask = _finite_rows(modality)
        out = np.zeros(values.shape, dtype=np.float32)
        for part in chunks(values):
            real = mask[part]
            out[part][real] = standardised(values[part][real], np.array(self.mean), np.array(self.std))
        return out, mask

    def encoder_options(self) -> dict[str, Any]:
        """Width of the values."""
        return {"in_dim": len(self.mean)}


def _finite_rows(modality: Embedding) -> NDArray[np.bool_]:
    finite = [np.isfinite(modality.values[part]).all(axis=-1) for part in chunks(modality.values)]
    return modality.mask & np.concatenate(finite)
