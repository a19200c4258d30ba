import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from fuseloom.data.digits import read_digits
from fuseloom.errors import MissingExtraError


def test_the_halves_make_the_scans() -> None:
    source = read_digits()
    scans, digits = load_digits(return_X_y=True)
    halves = [source.arrays["top"].values, source.arrays["bottom"].values]
    np.testing.assert_array_equal(np.concatenate(halves, axis=1), scans.astype(np.float32))
    assert source.labels["digit"].tolist() == [str(digit) for digit in digits]


def test_missing_scikit_learn_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fuseloom\[workbench\]'"):
        read_digits()
