"""Vectors that are used as they are, because another program has prepared them."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Embedding
from fuseloom.data.preprocessing._base import Encoded, Preprocessor
from fuseloom.errors import DataError

__all__ = ["GivenPreprocessor"]


@dataclass(frozen=True, kw_only=True)
class GivenPreprocessor(Preprocessor):
    """Takes every value as it is, nothing standardised or cut.

    A row (or token) with an entry that is not finite is masked.

    Example:
        >>> rows = Embedding(values=np.full((1, 2), 40.0, np.float32), mask=np.ones(1, np.bool_))
        >>> GivenPreprocessor(width=2).apply(rows)[0].tolist()
        [[40.0, 40.0]]
    """

    kind = "given"
    reads = "embedding"
    width: int
    """Of the vectors."""

    @classmethod
    def fit(cls, modality: Embedding, rows: NDArray[np.intp]) -> Self:
        """Note the width; nothing is learnt."""
        return cls(width=modality.values.shape[-1])

    def apply(self, modality: Embedding) -> Encoded:
        """Values as they came, ``[N, D]`` or ``[N, T, D]``, zero where masked."""
        values = modality.values
        if values.shape[-1] == 0:
            return np.zeros((len(values), self.width), np.float32), np.zeros(len(values), np.bool_)
        if values.shape[-1] != self.width:
            raise DataError(f"Values must have width {self.width}, got {values.shape[-1]}.")
        mask = modality.mask & np.isfinite(values).all(axis=-1)
        return np.where(mask[..., None], values, 0).astype(np.float32), mask

    def encoder_options(self) -> dict[str, Any]:
        """Width of the values."""
        return {"in_dim": self.width}
