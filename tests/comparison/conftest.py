import numpy as np
import pytest

from fuseloom.comparison.config import CompareConfig
from fuseloom.data import load


@pytest.fixture
def product_rows():
    """Two modalities of which only the product of one feature each tells the class."""
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 400, 2)).astype(np.float32)
    return {"a": a, "b": b}, np.where(a[:, 0] * b[:, 0] > 0, "same", "different")


@pytest.fixture
def small():
    """A comparison of a second."""
    return CompareConfig(
        fusions=("sum", "low_rank"), seeds=2, learning_rates=(3e-3,), max_epochs=3, dim=8, folds=1
    )


@pytest.fixture
def dataset(product_rows):
    rows, target = product_rows
    return load(rows, target=target)
