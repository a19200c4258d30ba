"""One classical estimator for each of several targets."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["PerTarget"]

Floats = NDArray[np.floating[Any]]


class PerTarget:
    """A copy of a scikit-learn estimator for each column of targets ``[N, K]``.

    Each is fitted on the rows where its target is known (not NaN). A target with one value only, or none, has
    nothing to be learnt: it is predicted as that value, or as 0.

    Args:
        estimator: With ``coef_`` and ``intercept_`` once it is fitted.

    Example:
        >>> from sklearn.linear_model import Ridge
        >>> target = np.array([[0.0, 5.0], [2.0, 5.0], [4.0, np.nan]])
        >>> fitted = PerTarget(Ridge(alpha=1e-9)).fit(np.array([[0.0], [1.0], [2.0]]), target)
        >>> fitted.predict(np.array([[3.0]])).round(3).tolist()
        [[6.0, 5.0]]
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, features: Any, target: Floats) -> Self:
        """Fit on features ``[N, F]``, which may be sparse."""
        self.fitted = [self._fit_one(features, column) for column in target.T]
        return self

    def predict(self, features: Any) -> Floats:
        """Predictions ``[N, K]``."""
        return self._stacked(features, lambda one: one.predict(features))

    def predict_proba(self, features: Any) -> Floats:
        """Probabilities ``[N, K]`` that a target is 1."""
        return self._stacked(features, lambda one: one.predict_proba(features)[:, 1])

    @property
    def coef_(self) -> Floats:
        """All coefficients, end to end."""
        return np.concatenate([np.ravel(one.coef_) for one in self._learnt()] or [np.zeros(0)])

    @property
    def intercept_(self) -> Floats:
        """All intercepts."""
        return np.concatenate([np.ravel(one.intercept_) for one in self._learnt()] or [np.zeros(0)])

    def _fit_one(self, features: Any, target: Floats) -> Any:
        """An estimator, or the only value of the target."""
        from sklearn.base import clone

        known = np.flatnonzero(~np.isnan(target))
        values = np.unique(target[known])
        if len(values) < 2:
            return float(values[0]) if len(values) else 0.0
        return clone(self.estimator).fit(features[known], target[known])

    def _stacked(self, features: Any, predict: Any) -> Floats:
        rows = features.shape[0]
        columns = [np.full(rows, one) if isinstance(one, float) else predict(one) for one in self.fitted]
        return np.stack(columns, axis=1)

    def _learnt(self) -> list[Any]:
        return [one for one in self.fitted if not isinstance(one, float)]
