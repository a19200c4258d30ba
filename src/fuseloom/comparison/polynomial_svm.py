"""A support vector machine with a polynomial kernel on all features: the classical model of interactions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.tasks import Metric

__all__ = ["PolynomialSvm", "fit_polynomial_svm"]

Floats = NDArray[np.float64]

_STRENGTHS = (0.1, 1.0, 10.0)


class PolynomialSvm:
    r"""One machine per class, against the rest; scores are their margins.

    The kernel is :math:`(\gamma \langle u, z \rangle + 1)^2` of standardised features, with gamma one over
    their number, so its features hold all products of two, those across modalities too.

    Args:
        strength: ``C``; the higher, the closer it fits.
    """

    def __init__(self, strength: float) -> None:
        from sklearn.multiclass import OneVsRestClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVC

        machine = SVC(kernel="poly", degree=2, coef0=1.0, gamma="scale", C=strength)
        self._model = make_pipeline(StandardScaler(), OneVsRestClassifier(machine))

    def fit(self, columns: Floats, target: NDArray[Any]) -> "PolynomialSvm":
        """Learn classes ``[N]`` from features ``[N, D]``."""
        self._model.fit(columns, target)
        return self

    def scores(self, columns: Floats) -> Floats:
        """Margins ``[N, K]``; of two classes that of the second, and its negative."""
        found = np.asarray(self._model.decision_function(columns))
        return found if found.ndim == 2 else np.stack([-found, found], -1)


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
    """
    machines = [PolynomialSvm(c).fit(columns[split["train"]], target[split["train"]]) for c in strengths]
    valid, truth = columns[split["valid"]], target[split["valid"]]
    reached = [metric.better(metric.function(machine.scores(valid), truth)) for machine in machines]
    return machines[int(np.argmax(reached))]
