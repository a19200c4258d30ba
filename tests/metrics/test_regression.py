import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn import metrics as oracle

from fuseloom.metrics.regression import mae, pearson, r2, rmse


def test_scores_equal_scikit_learn_and_scipy():
    generator = np.random.default_rng(0)
    y = generator.normal(size=50)
    p = y + generator.normal(size=50)
    assert r2(p, y) == pytest.approx(oracle.r2_score(y, p))
    assert rmse(p, y) == pytest.approx(oracle.root_mean_squared_error(y, p))
    assert mae(p, y) == pytest.approx(oracle.mean_absolute_error(y, p))
    assert pearson(p, y) == pytest.approx(pearsonr(p, y).statistic)


def test_what_is_undefined_is_nan():
    constant, y = np.ones(3), np.array([1.0, 2.0, 3.0])
    assert np.isnan(r2(y, constant))
    assert np.isnan(pearson(constant, y))
