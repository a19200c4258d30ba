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
        weights: Of the classes in the loss; None for all alike.

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
    decision = "softmax"
    stratified = True

    def __init__(
        self, classes: Sequence[str], *, numeric: bool = False, weights: Sequence[float] | None = None
    ) -> None:
        self.classes = tuple(classes)
        self.numeric = numeric
        self.weights = None if weights is None else tuple(weights)

    @classmethod
    def learn(cls, target: NDArray[Any], names: Sequence[str] | None = None) -> Self:
        target = _one_column(target)
        numeric = target.dtype.kind in "iuf"
        values = np.unique(target) if numeric else sorted({str(value) for value in target})
        if not numeric and "" in values:
            raise DataError(
                f"target must be a class in every row, got an empty one in {int((target == '').sum())} rows. "
                "Use --task multilabel, or say that it is --kind TARGET=category to set them aside."
            )
        if len(values) < 2:
            only = repr(_label(values[0])) if len(values) else "none"
            raise DataError(f"target must have at least two classes, got only {only}.")
        return cls([_label(value) for value in values], numeric=numeric)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        return cls(state["classes"], numeric=state["numeric"], weights=state.get("weights"))

    def state(self) -> dict[str, Any]:
        weights = {} if self.weights is None else {"weights": list(self.weights)}
        return {"classes": list(self.classes), "numeric": self.numeric, **weights}

    @property
    def num_outputs(self) -> int:
        return len(self.classes)

    def encode(self, target: NDArray[Any]) -> NDArray[Any]:
        places = {name: place for place, name in enumerate(self.classes)}
        labels = [_label(value) for value in _one_column(target)]
        if unknown := sorted(set(labels) - places.keys()):
            raise DataError(f"target must be one of {list(self.classes)}, got {unknown[0]!r}.")
        return np.array([places[label] for label in labels], dtype=np.int64)

    def balanced(self, target: NDArray[Any]) -> Self:
        """A class weighs as much as each other one, whatever its rows; one without rows weighs 1."""
        counts = np.bincount(target, minlength=self.num_outputs)
        share = len(target) / (counts > 0).sum()
        weights = np.where(counts > 0, share / np.maximum(counts, 1), 1.0)
        return type(self)(self.classes, numeric=self.numeric, weights=weights.tolist())

    def errors(self, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        errors = F.cross_entropy(outputs, target, reduction="none")
        return errors, None if self.weights is None else errors.new_tensor(self.weights)[target]

    def predict(self, outputs: Floats) -> Floats:
        shifted = np.exp(outputs.astype(np.float64) - outputs.max(-1, keepdims=True))
        probabilities: Floats = shifted / shifted.sum(-1, keepdims=True)
        return probabilities

    def columns(self, predictions: Floats) -> dict[str, NDArray[Any]]:
        names = np.array(self.classes, dtype=object)
        chosen = {"prediction": names[predictions.argmax(-1)]}
        return chosen | {f"p_{name}": predictions[:, place] for place, name in enumerate(self.classes)}

    def target_columns(self, target: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return {"target": _one_column(target)}

    @property
    def baseline_name(self) -> str:
        return "logistic regression"

    def baselines(self, seed: int) -> list[Any]:
        from sklearn.linear_model import LogisticRegression

        weights = None if self.weights is None else "balanced"
        return [
            LogisticRegression(C=c, max_iter=2000, random_state=seed, class_weight=weights)
            for c in (0.001, 0.01, 0.1, 1.0)
        ]

    def baseline_predict(self, estimator: Any, features: Any) -> Floats:
        given = estimator.predict_proba(features)
        probabilities = np.zeros((len(given), self.num_outputs))
        probabilities[:, estimator.classes_] = given  # a class may be missing from the training rows
        return probabilities


def _one_column(target: NDArray[Any]) -> NDArray[Any]:
    if target.ndim == 2 and target.shape[1] != 1:
        raise DataError(
            f"target must be one column for classification, got {target.shape[1]}. Use --task multilabel for "
            "columns of 0 and 1, --task regression for numbers."
        )
    return target.reshape(-1)


def _label(value: Any) -> str:
    """A class name; 3.0 and 3 are one class."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)
