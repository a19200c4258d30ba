"""Measures of disagreement and shared errors against their definitions and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import cohen_kappa_score

from fuseloom.metrics.diversity import disagreement, double_fault, kappa, q_statistic


def drawn(seed=0, predictors=2, rows=40, classes=3):
    return np.random.default_rng(seed).dirichlet(np.ones(classes), size=(predictors, rows))


def cells(one, other):
    """Shares of rows by whether the one errs, then whether the other does."""
    return np.array([[np.mean((one == a) & (other == b)) for b in (0, 1)] for a in (0, 1)])


def test_of_two_predictors_it_is_the_squared_distance_of_jensen_and_shannon():
    one, other = drawn()
    np.testing.assert_allclose(
        disagreement(np.stack([one, other])), jensenshannon(one, other, axis=1, base=2) ** 2
    )


@pytest.mark.parametrize(("classes", "predictors"), [(2, 2), (3, 3), (5, 3), (2, 4)])
def test_as_different_as_can_be_is_one(classes, predictors):
    sure = np.eye(classes)[np.arange(predictors) % classes][:, None]
    assert disagreement(sure)[0] == pytest.approx(1)


@given(st.integers(0, 100))
def test_who_is_not_there_does_not_count(seed):
    three = drawn(seed, 3)
    absent = np.stack([np.ones(40), np.ones(40), np.zeros(40)]) > 0
    three[2, ::2] = np.nan
    np.testing.assert_allclose(disagreement(three, absent), disagreement(three[:2]))
    alone = absent & (np.arange(3) == 0)[:, None]
    assert not disagreement(three, alone).any()
    numbers = three[..., 0]
    np.testing.assert_allclose(disagreement(numbers, absent), np.ptp(numbers[:2], axis=0))
    assert not disagreement(numbers, alone).any()


@given(st.integers(0, 200))
def test_kappa_agrees_with_scikit_learn_and_double_faults_with_a_count(seed):
    one, other = np.random.default_rng(seed).integers(2, size=(2, 50))
    shares = cells(one, other)
    assert kappa(shares) == pytest.approx(cohen_kappa_score(one, other))
    assert double_fault(shares) == pytest.approx(np.mean(one * other))


def test_q_is_the_odds_ratio_between_minus_one_and_one():
    shares = np.array([[0.5, 0.1], [0.2, 0.2]])
    odds = 0.5 * 0.2 / (0.1 * 0.2)
    assert q_statistic(shares) == pytest.approx((odds - 1) / (odds + 1))
    assert q_statistic(np.array([[0.0, 0.5], [0.5, 0.0]])) == -1


def test_measures_that_are_not_defined_are_nan():
    never = np.array([[1.0, 0.0], [0.0, 0.0]])
    assert np.isnan(kappa(never))
    assert np.isnan(q_statistic(never))
