"""One of K classes."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fuseloom.errors import DataError
from fuseloom.metrics.classification import (
    accuracy,
    auc,
    balanced_accuracy,
    log_loss,
    macro_f1,
    weighted_f1,
)
from fuseloom.registry import register
from fuseloom.tasks._base import Floats, Metric, Task

__all__ = ["Classification"]


@register("classification")
class Classification(Task):
    """One of K classes, by softmax and cross-entropy.

    Args:
        classes: Names of the classes, sorted.
        numeric: Whether the names stand for numbers, so that predictions are numbers again.

    Example:
        >>> task = Classification.learn(np.array(["b", "a", "b"]))
        >>> task.classes, task.encode(np.array(["b", "a"])).tolist()
        (('a', 'b'), [1, 0])
    """

    metrics = {
        "accuracy": Metric(function=accuracy),
        "balanced_accuracy": Metric(function=balanced_accuracy),
        "macro_f1": Metric(function=macro_f1),
        "weighted_f1": Metric(function=weighted_f1),
        "auc": Metric(function=auc),
        "log_loss": Metric(function=log_loss, higher_is_better=False, bounded=False),
    }
    default_metric = "accuracy"
    loss_metric = "log_loss"
    stratified = True

    def __init__(self, classes: Sequence[str], *, numeric: bool = False) -> None:
        self.classes = tuple(classes)
        self.numeric = numeric

    @classmethod
    def learn(cls, target: NDArray[Any]) -> Self:
        numeric = target.dtype.kind in "iuf"
        values = np.unique(target) if numeric else sorted({str(value) for value in target})
        if len(values) < 2:
            only = repr(_label(values[0])) if len(values) else "none"
            raise DataError(f"target must have at least two classes, got only {only}.")
        return cls([_label(value) for value in values], numeric=numeric)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        return cls(state["classes"], numeric=state["numeric"])

    def state(self) -> dict[str, Any]:
        return {"classes": list(self.classes), "numeric": self.numeric}

    @property
    def num_outputs(self) -> int:
        return len(self.classes)

    def encode(self, target: NDArray[Any]) -> NDArray[Any]:
        places = {name: place for place, name in enumerate(self.classes)}
        labels = [_label(value) for value in target]
        if unknown := sorted(set(labels) - places.keys()):
            raise DataError(f"target must be one of {list(self.classes)}, got {unknown[0]!r}.")
        return np.array([places[label] for label in labels], dtype=np.int64)

    def losses(self, outputs: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(outputs, target, reduction="none")

    def predict(self, outputs: Floats) -> Floats:
        shifted = np.exp(outputs.astype(np.float64) - outputs.max(-1, keepdims=True))
        probabilities: Floats = shifted / shifted.sum(-1, keepdims=True)
        return probabilities

    def columns(self, predictions: Floats) -> dict[str, NDArray[Any]]:
        names = np.array(self.classes, dtype=object)
        chosen = {"prediction": names[predictions.argmax(-1)]}
        return chosen | {f"p_{name}": predictions[:, place] for place, name in enumerate(self.classes)}

    @property
    def baseline_name(self) -> str:
        return "logistic regression"

    def baselines(self, seed: int) -> list[Any]:
        from sklearn.linear_model import LogisticRegression

        return [LogisticRegression(C=c, max_iter=2000, random_state=seed) for c in (0.001, 0.01, 0.1, 1.0)]

    def baseline_predict(self, estimator: Any, features: Any) -> Floats:
        given = estimator.predict_proba(features)
        probabilities = np.zeros((len(given), self.num_outputs))
        probabilities[:, estimator.classes_] = given  # a class may be missing from the training rows
        return probabilities


def _label(value: Any) -> str:
    """A class name; 3.0 and 3 are one class."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)
