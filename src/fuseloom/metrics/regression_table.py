"""Regressions with what the table of their coefficients shows: errors, tests and fit, by statsmodels."""

import warnings
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.errors import DataError, MissingExtraError

__all__ = ["Contrast", "Family", "RegressionFit", "added_terms_test", "fit_regression", "variance_inflation"]

Floats = NDArray[np.float64]
Family = Literal["linear", "logistic"]


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A weighted sum of coefficients, with its test against zero and its 95 % interval."""

    estimate: float
    error: float
    """Standard error."""
    statistic: float
    """Student's t of a linear model, Wald's z of a logistic one."""
    p: float
    """Two-sided."""
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, eq=False)
class RegressionFit:
    """A fitted linear model, or a logistic one."""

    weights: Floats
    """Coefficients ``[P]``."""
    covariance: Floats
    """Of the coefficients ``[P, P]``."""
    robust_covariance: Floats
    """HC3: holds where the spread of the residuals differs from row to row. NaN where a row alone decides a
    coefficient."""
    degrees: float
    """Of freedom of the residuals; infinite for a logistic model, whose tests are those of large samples."""
    deviance: float
    """Sum of the squared residuals; of a logistic model -2 times its log likelihood."""
    log_likelihood: float
    r2: float
    """Share of the variance that is explained; of a logistic model McFadden's, 1 - log likelihood over that
    of the intercept alone."""
    adjusted_r2: float | None
    """Corrected for the number of coefficients; None for a logistic model."""
    statistic: float
    """Of the test of all coefficients but the intercept: F, or the likelihood ratio's chi-square."""
    p: float
    """Of that test."""
    aic: float
    bic: float
    variance: float | None
    """Of the residuals; None for a logistic model."""

    @classmethod
    def of_linear(cls, found: Any) -> Self:
        """From what statsmodels made of least squares."""
        weighing = np.ones_like(found.resid)
        return cls(
            weights=found.params,
            covariance=found.cov_params(),
            robust_covariance=_hc3(found.model.exog, found.normalized_cov_params, weighing, found.resid),
            degrees=float(found.df_resid),
            deviance=float(found.ssr),
            log_likelihood=float(found.llf),
            r2=float(found.rsquared),
            adjusted_r2=float(found.rsquared_adj),
            statistic=float(found.fvalue),
            p=float(found.f_pvalue),
            aic=float(found.aic),
            bic=float(found.bic),
            variance=float(found.scale),
        )

    @classmethod
    def of_logistic(cls, found: Any) -> Self:
        """From what statsmodels made of a logistic regression."""
        likely = found.predict()
        residuals = found.model.endog - likely
        return cls(
            weights=found.params,
            covariance=found.cov_params(),
            robust_covariance=_hc3(found.model.exog, found.cov_params(), likely * (1 - likely), residuals),
            degrees=float("inf"),
            deviance=-2 * float(found.llf),
            log_likelihood=float(found.llf),
            r2=float(found.prsquared),
            adjusted_r2=None,
            statistic=float(found.llr),
            p=float(found.llr_pvalue),
            aic=float(found.aic),
            bic=float(found.bic),
            variance=None,
        )

    def contrast(self, direction: Floats, *, robust: bool = False) -> Contrast:
        """The sum of the coefficients weighted by ``direction`` ``[P]``.

        Args:
            direction: One at a coefficient and zero elsewhere for that coefficient itself.
            robust: Whether its errors are those of the robust covariance.

        Example:
            >>> x = np.arange(4.0)
            >>> fit = fit_regression(np.stack([x**0, x], axis=1), np.array([0.0, 2.0, 5.0, 7.0]))
            >>> round(fit.contrast(np.array([1.0, 2.0])).estimate, 9)  # the line at 2
            4.7
        """
        from scipy.special import stdtr, stdtrit  # a line has many of these, and scipy.stats is slow

        covariance = self.robust_covariance if robust else self.covariance
        estimate = float(direction @ self.weights)
        # A variance of nothing may be negative by the last digits.
        error = float(np.sqrt(np.maximum(direction @ covariance @ direction, 0)))
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = float(np.float64(estimate) / error)
        half = float(stdtrit(self.degrees, 0.975)) * error
        return Contrast(
            estimate=estimate,
            error=error,
            statistic=statistic,
            p=2 * float(stdtr(self.degrees, -abs(statistic))),
            low=estimate - half,
            high=estimate + half,
        )

    def robust_test(self, first: int) -> float | None:
        """P-value of Wald's test, with robust errors, that all coefficients from ``first`` on are zero.

        None where these errors are not defined, or say that a sum of the coefficients has none.
        """
        weights, covariance = self.weights[first:], self.robust_covariance[first:, first:]
        if not np.isfinite(covariance).all() or np.linalg.matrix_rank(covariance) < len(weights):
            return None
        squared = float(weights @ np.linalg.solve(covariance, weights)) / len(weights)
        return _p_of_f(squared, len(weights), self.degrees)


def fit_regression(design: Floats, target: Floats, *, family: Family = "linear") -> RegressionFit:
    """Fit a linear model by least squares, or a logistic one by maximum likelihood.

    Args:
        design: Columns ``[N, P]``, ones for the intercept among them.
        target: Numbers ``[N]``; of a logistic model 0 or 1.
        family: Which of the two.

    Raises:
        DataError: a logistic model has no finite coefficients, as its columns separate the two classes.
        MissingExtraError: statsmodels is not installed.

    Example:
        >>> x = np.arange(4.0)
        >>> fit_regression(np.stack([x**0, x], axis=1), 1 + 2 * x).weights.round(9).tolist()
        [1.0, 2.0]
    """
    try:
        from statsmodels.discrete.discrete_model import Logit
        from statsmodels.regression.linear_model import OLS
        from statsmodels.tools.sm_exceptions import ModelWarning, PerfectSeparationError
    except ImportError:
        raise MissingExtraError(
            "A regression table needs statsmodels. Install it with: pip install 'fuseloom[workbench]'"
        ) from None
    if family == "linear":
        with np.errstate(divide="ignore", invalid="ignore"):
            return RegressionFit.of_linear(OLS(target, design).fit())
    with warnings.catch_warnings():
        for warning in (ModelWarning, RuntimeWarning):
            warnings.simplefilter("error", warning)
        try:
            return RegressionFit.of_logistic(Logit(target, design).fit(disp=0, maxiter=100))
        except (ModelWarning, RuntimeWarning, PerfectSeparationError, np.linalg.LinAlgError):
            raise DataError(
                "target must overlap between its two values for a logistic regression, got columns that "
                "separate them. Use fewer products, or family='linear'."
            ) from None


def added_terms_test(small: RegressionFit, large: RegressionFit) -> tuple[float, float]:
    """Test the coefficients that a larger model has more than one nested in it: statistic and p-value.

    The F test of linear models, the likelihood-ratio (chi-square) test of logistic ones.

    Example:
        >>> x, y = np.arange(4.0), np.array([0.0, 2.0, 5.0, 7.0])
        >>> line = fit_regression(np.stack([x**0, x], axis=1), y)
        >>> f, p = added_terms_test(fit_regression(np.ones((4, 1)), y), line)
        >>> abs(f - line.statistic) < 1e-6
        True
    """
    added = len(large.weights) - len(small.weights)
    gained = small.deviance - large.deviance
    if np.isinf(large.degrees):
        return gained, _p_of_f(gained / added, added, large.degrees)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = float(np.float64(gained / added) / (large.deviance / large.degrees))
    return statistic, _p_of_f(statistic, added, large.degrees)


def _p_of_f(statistic: float, added: int, degrees: float) -> float:
    from scipy.stats import chi2, f

    if np.isinf(degrees):
        return float(chi2.sf(statistic * added, added))
    return float(f.sf(statistic, added, degrees))


def variance_inflation(design: Floats) -> Floats:
    """By how much what the other columns share with it inflates the variance of each coefficient, ``[P]``.

    That is ``1 / (1 - R2)`` of the column by the others; 1 where it shares nothing with them. NaN for the
    intercept, of which it says nothing.

    Example:
        >>> variance_inflation(np.array([[1.0, 0, 0], [1, 0, 1], [1, 1, 0], [1, 1, 1]]))
        array([nan,  1.,  1.])
    """
    varies = np.ptp(design, axis=0) > 0
    columns = design[:, varies] - design[:, varies].mean(0)
    columns /= np.linalg.norm(columns, axis=0)  # now their products are correlations
    found = np.full(design.shape[1], np.nan)
    found[varies] = np.square(np.linalg.pinv(columns)).sum(1)  # the inverse of X'X would square its errors
    return found


def _hc3(design: Floats, bread: Floats, weighing: Floats, residuals: Floats) -> Floats:
    """``bread (X' diag(r^2 / (1 - h)^2) X) bread`` with leverages ``h`` (MacKinnon and White, 1985)."""
    leverage = weighing * np.einsum("np,pq,nq->n", design, bread, design)
    left = np.where(1 - leverage > 1e-10, 1 - leverage, np.nan)
    scores = design * (residuals / left)[:, None]
    covariance: Floats = bread @ (scores.T @ scores) @ bread
    return covariance
