"""A support vector machine with a polynomial kernel on all features: the classical model of interactions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.errors import DataError
from fuseloom.tasks import Metric

__all__ = ["PolynomialSvm", "fit_polynomial_svm"]

Floats = NDArray[np.float64]

_STRENGTHS = (0.1, 1.0, 10.0)


class PolynomialSvm:
    r"""One machine per class, against the rest; scores are their margins.

    The kernel is :math:`(\langle u, z \rangle / D + 1)^2` of ``D`` standardised features, so what it can tell
    apart are all products of two, those across modalities too. An inner product is a sum over modalities:
    once each of these is known, margins of modalities combined at will cost no product of features.

    Args:
        strength: ``C``; the higher, the closer it fits.
    """

    def __init__(self, strength: float) -> None:
        self._strength = strength

    def fit(self, columns: Floats, target: NDArray[Any]) -> "PolynomialSvm":
        """Learn classes ``[N]`` from features ``[N, D]``."""
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVC

        self._scaler = StandardScaler().fit(columns)
        rows, self._classes = self._scaler.transform(columns), np.unique(target)
        options = {"kernel": "poly", "degree": 2, "coef0": 1.0, "gamma": 1 / rows.shape[1]}
        machines = [SVC(C=self._strength, **options).fit(rows, target == k) for k in self._classes]
        self._support = np.concatenate([machine.support_vectors_ for machine in machines])
        self._ends = np.cumsum([len(machine.support_) for machine in machines])[:-1]
        self._weights = [machine.dual_coef_[0] for machine in machines]
        self._offsets = np.array([machine.intercept_[0] for machine in machines])
        return self

    def products(self, columns: Floats, place: slice = slice(None)) -> Floats:
        """Inner products ``[N, S]`` with all support vectors, over the features of ``place`` alone."""
        found: Floats = self._scaler.transform(columns)[:, place] @ self._support[:, place].T
        return found

    def margins(self, products: Floats) -> Floats:
        """Margins ``[N, K]`` from inner products ``[N, S]`` over all features."""
        kernels = np.square(products / self._support.shape[1] + 1)
        parts = np.split(kernels, self._ends, axis=1)
        sums = [kernel @ weights for kernel, weights in zip(parts, self._weights, strict=True)]
        found: Floats = np.stack(sums, -1) + self._offsets
        return found

    def scores(self, columns: Floats) -> Floats:
        """Margins ``[N, K]`` of features ``[N, D]``."""
        return self.margins(self.products(columns))


def fit_polynomial_svm(
    columns: Floats,
    target: NDArray[Any],
    split: Mapping[str, NDArray[np.intp]],
    metric: Metric,
    *,
    strengths: Sequence[float] = _STRENGTHS,
) -> PolynomialSvm:
    """The machine whose ``C`` is best on validation rows.

    Args:
        columns: Features ``[N, D]`` of all rows.
        target: Classes ``[N]``.
        split: ``train`` and ``valid`` row numbers.
        metric: Reads margins; one that reads only their order, such as the area under the ROC curve.
        strengths: Tried, in this order; the first of equals is kept.

    Raises:
        DataError: a class has no training row.
    """
    if unseen := sorted(set(target.tolist()) - set(target[split["train"]].tolist())):
        raise DataError(
            f"Every class must be in the training rows of each fold, got none of class {unseen[0]}."
        )
    machines = [PolynomialSvm(c).fit(columns[split["train"]], target[split["train"]]) for c in strengths]
    valid, truth = columns[split["valid"]], target[split["valid"]]
    reached = [metric.better(metric.function(machine.scores(valid), truth)) for machine in machines]
    return machines[int(np.argmax(reached))]
