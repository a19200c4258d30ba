import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from fuseloom.metrics.correction import holm


@pytest.mark.parametrize(
    "p_values", [[0.03], [0.01, 0.04, 0.03, 0.005, 0.01], [1.0, 0.0, 0.6, 0.2, 0.2, 0.9]]
)
def test_holm_agrees_with_statsmodels(p_values):
    np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1], atol=1e-12)


def test_holm_of_nothing_is_nothing():
    assert holm([]) == []
