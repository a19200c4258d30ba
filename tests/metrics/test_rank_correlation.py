import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from fuseloom.metrics.rank_correlation import spearman


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=30))
def test_it_is_that_of_scipy_ties_and_all(pairs):
    one, other = np.array(pairs, float).T
    if one.std() > 0 and other.std() > 0:
        assert spearman(one, other) == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)
    else:
        assert np.isnan(spearman(one, other))


def test_only_the_order_counts():
    values = np.array([0.3, 2.0, 1.0, 7.0])
    assert spearman(values, np.exp(values)) == pytest.approx(1)
    assert spearman(values, -(values**3)) == pytest.approx(-1)
