"""The embedded set: handwritten digits of scikit-learn, upper and lower half as two modalities."""

import numpy as np

from fuseloom.data.dataset import Embedding
from fuseloom.data.source import Source
from fuseloom.errors import MissingExtraError

__all__ = ["read_digits"]


def read_digits() -> Source:
    """1,797 scans of 8 x 8 pixels: the first four rows are ``top``, the others ``bottom``, 32 features each.

    From the UCI set Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998), as scikit-learn
    ships it.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingExtraError(
            "The embedded digits need scikit-learn. Install it with: pip install 'fuseloom[workbench]'"
        ) from None
    scans, digits = load_digits(return_X_y=True)
    halves = {"top": scans[:, :32], "bottom": scans[:, 32:]}
    real = np.ones(len(scans), dtype=np.bool_)
    return Source(
        name="digits",
        source_format="digits",
        ids=[str(row) for row in range(len(scans))],
        places=[f"digits row {row}" for row in range(len(scans))],
        arrays={n: Embedding(values=half.astype(np.float32), mask=real) for n, half in halves.items()},
        labels={"digit": np.array([str(digit) for digit in digits], dtype=object)},
        target="digit",
        target_kind="category",
    )
