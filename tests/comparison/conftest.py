import numpy as np
import pytest

from fuseloom.comparison.config import CompareConfig
from fuseloom.data import load


@pytest.fixture(autouse=True)
def _few_starts(monkeypatch):
    """What a comparison finds of information need not be the best of many clusterings here."""
    monkeypatch.setattr("fuseloom.diagnose.symbols._STARTS", 2)
    monkeypatch.setattr("fuseloom.comparison.diagnosis._PERMUTATIONS", 20)


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
def small_muse():
    """Options of MuSE for a run of a second."""
    return {
        "num_layers": 2,
        "mu": 0,
        "eta": 2,
        "num_heads": 2,
        "hidden": 16,
        "caption_width": 8,
        "picture_size": 8,
        "painter_blocks": 1,
        "painter_filters": 4,
        "painter_mixtures": 1,
    }


@pytest.fixture
def dataset(product_rows):
    rows, target = product_rows
    return load(rows, target=target)
