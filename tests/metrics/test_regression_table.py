"""Tables of regressions against statsmodels' own results, and against formulas written out."""

import builtins

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.outliers_influence import variance_inflation_factor

from fuseloom.errors import DataError, MissingExtraError
from fuseloom.metrics.regression_table import added_terms_test, fit_regression, variance_inflation


def drawn(seed=0, count=60, binary=False):
    generator = np.random.default_rng(seed)
    a, b = generator.normal(size=(2, count))
    b += 0.5 * a
    design = np.stack([np.ones(count), a, b, a * b], axis=1)
    line = design @ np.array([0.3, 1.0, -0.5, 0.8])
    if binary:
        return design, (generator.random(count) < 1 / (1 + np.exp(-line))).astype(float)
    return design, line + generator.normal(size=count) * (1 + np.abs(a))


def test_least_squares_agrees_with_statsmodels():
    design, target = drawn()
    ours, theirs = fit_regression(design, target), sm.OLS(target, design).fit()
    robust = theirs.get_robustcov_results("HC3", use_t=True)
    for place, direction in enumerate(np.eye(4)):
        plain, hc3 = ours.contrast(direction), ours.contrast(direction, robust=True)
        found = [plain.estimate, plain.error, plain.statistic, plain.p, plain.low, plain.high]
        expected = [theirs.params, theirs.bse, theirs.tvalues, theirs.pvalues, *theirs.conf_int().T]
        assert found == pytest.approx([one[place] for one in expected], rel=1e-9)
        assert [hc3.error, hc3.p, hc3.low] == pytest.approx(
            [robust.bse[place], robust.pvalues[place], robust.conf_int()[place, 0]], rel=1e-9
        )
    assert ours.robust_test(2) == pytest.approx(float(robust.f_test(np.eye(4)[2:]).pvalue), rel=1e-9)
    direction = np.array([0.0, 1.0, 0.0, -2.0])
    tested = theirs.t_test(direction)
    assert ours.contrast(direction).p == pytest.approx(tested.pvalue.item(), rel=1e-9)


def test_a_logistic_regression_agrees_with_statsmodels():
    design, target = drawn(binary=True, count=200)
    ours, theirs = fit_regression(design, target, family="logistic"), sm.Logit(target, design).fit(disp=0)
    for place, direction in enumerate(np.eye(4)):
        wald = ours.contrast(direction)
        assert [wald.estimate, wald.error, wald.p, wald.high] == pytest.approx(
            [theirs.params[place], theirs.bse[place], theirs.pvalues[place], theirs.conf_int()[place, 1]],
            rel=1e-6,
        )
    assert [ours.r2, ours.statistic, ours.p, ours.aic, ours.bic] == pytest.approx(
        [theirs.prsquared, theirs.llr, theirs.llr_pvalue, theirs.aic, theirs.bic]
    )
    assert (ours.adjusted_r2, ours.variance) == (None, None)
    assert ours.deviance == pytest.approx(-2 * theirs.llf)


def test_robust_errors_of_a_logistic_regression_are_those_of_the_weighted_hat_matrix():
    design, target = drawn(binary=True, count=80)
    fit = fit_regression(design, target, family="logistic")
    likely = 1 / (1 + np.exp(-design @ fit.weights))
    root = np.sqrt(likely * (1 - likely))[:, None] * design
    leverage = np.diag(root @ np.linalg.inv(root.T @ root) @ root.T)
    meat = sum(
        np.outer(row, row) * ((y - p) / (1 - h)) ** 2
        for row, y, p, h in zip(design, target, likely, leverage, strict=True)
    )
    bread = np.linalg.inv(root.T @ root)
    np.testing.assert_allclose(fit.robust_covariance, bread @ meat @ bread, rtol=1e-5)
    assert 0 < fit.robust_test(3) < 1


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_added_terms_are_tested_as_statsmodels_tests_nested_models(kept):
    design, target = drawn(1)
    small, large = fit_regression(design[:, :kept], target), fit_regression(design, target)
    f, p, _ = sm.OLS(target, design).fit().compare_f_test(sm.OLS(target, design[:, :kept]).fit())
    assert added_terms_test(small, large) == pytest.approx((f, p))


def test_added_terms_of_logistic_models_are_tested_by_the_likelihood_ratio():
    design, target = drawn(binary=True, count=200)
    small, large = (fit_regression(one, target, family="logistic") for one in (design[:, :2], design))
    ratio = 2 * (large.log_likelihood - small.log_likelihood)
    p = np.exp(-ratio / 2)  # the chi-square of two degrees of freedom
    assert added_terms_test(small, large) == pytest.approx((ratio, p))


def test_variance_inflation_agrees_with_statsmodels():
    design, _ = drawn()
    found = variance_inflation(design)
    assert np.isnan(found[0])
    assert found[1:] == pytest.approx([variance_inflation_factor(design, k) for k in (1, 2, 3)])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(-5, 5))
def test_the_fit_follows_the_units_of_the_target(seed, scale, shift):
    design, target = drawn(seed)
    one, other = fit_regression(design, target), fit_regression(design, scale * target + shift)
    moved = scale * one.weights + shift * np.eye(4)[0]
    np.testing.assert_allclose(other.weights, moved, atol=1e-9 * max(1, scale))
    assert other.r2 == pytest.approx(one.r2)
    assert other.robust_test(1) == pytest.approx(one.robust_test(1), rel=1e-6)


def test_a_row_that_decides_a_coefficient_alone_has_no_robust_error():
    design = np.array([[1.0, 0], [1, 0], [1, 0], [1, 1]])
    fit = fit_regression(design, np.array([0.0, 1.0, 2.0, 9.0]))
    assert np.isnan(fit.contrast(np.array([0.0, 1.0]), robust=True).error)
    assert fit.robust_test(1) is None


def test_coefficients_whose_robust_errors_are_zero_are_not_tested():
    x = np.array([0.0, 1, 2, 3, 4])
    fit = fit_regression(np.stack([x**0, x, x**2], axis=1), np.zeros(5))
    assert fit.robust_test(1) is None


def test_classes_that_are_separated_are_refused():
    x = np.arange(10.0)
    with pytest.raises(DataError, match=r"target must overlap between its two values.*Use fewer products"):
        fit_regression(np.stack([x**0, x], axis=1), (x > 4).astype(float), family="logistic")


def test_without_statsmodels_the_command_is_named(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("statsmodels"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"pip install 'fuseloom\[workbench\]'"):
        fit_regression(np.ones((2, 1)), np.arange(2.0))
