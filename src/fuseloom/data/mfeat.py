"""UCI Multiple Features: handwritten digits seen by six feature extractors."""

from pathlib import Path

import numpy as np

from fuseloom.data.matrices import check_equal_labels, read_matrix
from fuseloom.data.source import Source
from fuseloom.data.values import embedding

__all__ = ["FILES", "read_mfeat"]

_MODALITIES = ("fou", "fac", "kar", "pix", "zer", "mor")

FILES = tuple(f"mfeat-{modality}.csv" for modality in _MODALITIES)
"""What the folder of the set holds."""


def read_mfeat(folder: Path) -> Source:
    """Read the six files: a header of column numbers, the digit last, the same sample on the same line.

    Fourier coefficients, profile correlations, Karhunen-Loeve coefficients, pixel averages, Zernike moments
    and morphological features (Duin, UCI, doi:10.24432/C5HC70).

    Raises:
        DataError: files disagree on rows or labels.
    """
    matrices = {m: read_matrix(folder / f"mfeat-{m}.csv", header=True) for m in _MODALITIES}
    digits = check_equal_labels({f"mfeat-{m}.csv": labels for m, (_, labels) in matrices.items()})
    return Source(
        name="mfeat",
        source_format="mfeat",
        ids=[str(row) for row in range(len(digits))],
        places=[f"mfeat line {row + 2}" for row in range(len(digits))],
        arrays={name: embedding(name, features) for name, (features, _) in matrices.items()},
        labels={"digit": np.array([str(digit) for digit in digits.tolist()], dtype=object)},
        target="digit",
        target_kind="category",
    )
