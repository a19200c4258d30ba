import numpy as np
import pytest

from fuseloom.data import Embedding
from fuseloom.data.preprocessing.given import GivenPreprocessor
from fuseloom.errors import DataError


def embedding(values):
    values = np.array(values, dtype=np.float32)
    return Embedding(values=values, mask=np.ones(values.shape[:-1], dtype=np.bool_))


def test_values_stay_what_they_are_and_broken_rows_are_masked():
    rows = embedding([[1e6, -3.0], [np.nan, 1.0], [2.0, np.inf]])
    values, mask = GivenPreprocessor(width=2).apply(rows)
    np.testing.assert_array_equal(values, [[1e6, -3.0], [0.0, 0.0], [0.0, 0.0]])
    assert mask.tolist() == [True, False, False]


def test_tokens_are_masked_one_by_one():
    values, mask = GivenPreprocessor(width=1).apply(embedding([[[4.0], [np.nan]]]))
    assert (values.tolist(), mask.tolist()) == ([[[4.0], [0.0]]], [[True, False]])


def test_an_absent_modality_is_masked_in_every_row():
    absent = Embedding(values=np.zeros((3, 0), np.float32), mask=np.zeros(3, np.bool_))
    values, mask = GivenPreprocessor(width=2).apply(absent)
    assert values.tolist() == [[0.0, 0.0]] * 3
    assert not mask.any()


def test_another_width_is_refused():
    with pytest.raises(DataError, match=r"Values must have width 3, got 2"):
        GivenPreprocessor(width=3).apply(embedding([[1.0, 2.0]]))


def test_it_is_fitted_and_restored():
    fitted = GivenPreprocessor.fit(embedding([[1.0, 2.0]]), np.arange(1))
    assert fitted.encoder_options() == {"in_dim": 2}
    assert GivenPreprocessor.from_state(fitted.state()) == fitted
