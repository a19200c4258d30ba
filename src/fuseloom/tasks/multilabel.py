"""Any number of K classes."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fuseloom.errors import DataError
from fuseloom.metrics import multilabel
from fuseloom.registry import register
from fuseloom.tasks._base import Floats, Metric, Task
from fuseloom.tasks._labels import SEPARATORS, find_separator, split_labels
from fuseloom.tasks._per_target import PerTarget

__all__ = ["Multilabel"]


@register("multilabel")
class Multilabel(Task):
    """Any number of K classes in each row, by one sigmoid and binary cross-entropy per class.

    Raw targets are strings ``[N]`` of classes between separators, or columns ``[N, K]`` of 0 and 1. A class
    is predicted where its probability is at least one half.

    Args:
        classes: Names of the classes, in the order of the outputs.
        separator: Between the classes of one row.
        weights: Of each class in the loss, where it is not there and where it is; None for all alike.

    Example:
        >>> task = Multilabel.learn(np.array(["rock;pop", "jazz", ""]))
        >>> task.classes, task.encode(np.array(["pop; jazz"])).tolist()
        (('jazz', 'pop', 'rock'), [[1.0, 1.0, 0.0]])
        >>> task.columns(np.array([[0.9, 0.2, 0.5]]))["prediction"].tolist()
        ['jazz;rock']
    """

    metrics = {
        "map": Metric(function=multilabel.mean_average_precision),
        "macro_f1": Metric(function=multilabel.macro_f1),
        "micro_f1": Metric(function=multilabel.micro_f1),
        "weighted_f1": Metric(function=multilabel.weighted_f1),
        "sample_f1": Metric(function=multilabel.sample_f1),
        "auc": Metric(function=multilabel.auc),
        "exact_match": Metric(function=multilabel.exact_match),
        "hamming_loss": Metric(function=multilabel.hamming_loss, higher_is_better=False),
        "log_loss": Metric(function=multilabel.log_loss, higher_is_better=False, bounded=False),
    }
    default_metric = "map"
    loss_metric = "log_loss"
    decision = "sigmoid"
    stratified = False

    def __init__(
        self,
        classes: Sequence[str],
        *,
        separator: str = SEPARATORS[0],
        weights: Sequence[Sequence[float]] | None = None,
    ) -> None:
        self.classes = tuple(classes)
        self.separator = separator
        self.weights = None if weights is None else tuple((absent, there) for absent, there in weights)
        self.notes = (f"classes of a row are split at {separator!r}",)

    @classmethod
    def learn(cls, target: NDArray[Any], names: Sequence[str] | None = None) -> Self:
        if target.ndim == 2:
            _check_flags(target)
            names = [str(k) for k in range(target.shape[1])] if names is None else names
            free = [mark for mark in SEPARATORS if not any(mark in name for name in names)]
            return cls(names, separator=free[0] if free else SEPARATORS[0])
        separator = find_separator(target) or SEPARATORS[0]
        classes = sorted({name for one in _lists(target, separator) for name in one})
        if not classes:
            raise DataError("target must have at least one class, got none.")
        return cls(classes, separator=separator)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        return cls(state["classes"], separator=state["separator"], weights=state.get("weights"))

    def state(self) -> dict[str, Any]:
        weights = {} if self.weights is None else {"weights": [list(pair) for pair in self.weights]}
        return {"classes": list(self.classes), "separator": self.separator, **weights}

    @property
    def num_outputs(self) -> int:
        return len(self.classes)

    def encode(self, target: NDArray[Any]) -> NDArray[Any]:
        if target.ndim == 2:
            _check_flags(target)
            if target.shape[1] != self.num_outputs:
                raise DataError(
                    f"target must have {self.num_outputs} columns as in training, got {target.shape[1]}."
                )
            return target.astype(np.float32)
        places = {name: place for place, name in enumerate(self.classes)}
        flags = np.zeros((len(target), self.num_outputs), dtype=np.float32)
        for row, names in enumerate(_lists(target, self.separator)):
            if unknown := sorted(set(names) - places.keys()):
                raise DataError(f"target must be of the classes {list(self.classes)}, got {unknown[0]!r}.")
            flags[row, [places[name] for name in names]] = 1
        return flags

    def balanced(self, target: NDArray[Any]) -> Self:
        """Of each class, the rows that have it weigh as much as those that have not.

        A class that all rows have, or none, weighs 1.
        """
        there = (target > 0).sum(0)
        counts = np.stack([len(target) - there, there], axis=1)
        both = (counts > 0).all(1, keepdims=True)
        weights = np.where(both, len(target) / (2 * np.maximum(counts, 1)), 1.0)
        return type(self)(self.classes, separator=self.separator, weights=weights.tolist())

    def errors(self, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        wanted = target.to(outputs.dtype)
        errors = F.binary_cross_entropy_with_logits(outputs, wanted, reduction="none")
        if self.weights is None:
            return errors, None
        absent, there = errors.new_tensor(self.weights).unbind(1)
        return errors, torch.where(target > 0, there, absent)

    def predict(self, outputs: Floats) -> Floats:
        # 1 / (1 + e^-x), without overflow and with all digits of a small probability.
        probabilities: Floats = np.exp(-np.logaddexp(0, -outputs.astype(np.float64)))
        return probabilities

    def columns(self, predictions: Floats) -> dict[str, NDArray[Any]]:
        chosen = {"prediction": self._joined(predictions >= 0.5)}
        return chosen | {f"p_{name}": predictions[:, place] for place, name in enumerate(self.classes)}

    def target_columns(self, target: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return {"target": self._joined(self.encode(target) > 0)}

    def _joined(self, flags: NDArray[np.bool_]) -> NDArray[Any]:
        names = np.array(self.classes, dtype=object)
        return np.array([self.separator.join(names[row]) for row in flags], dtype=object)

    @property
    def baseline_name(self) -> str:
        return "logistic regression"

    def baselines(self, seed: int) -> list[Any]:
        from sklearn.linear_model import LogisticRegression

        weights = None if self.weights is None else "balanced"
        return [
            PerTarget(LogisticRegression(C=c, max_iter=2000, random_state=seed, class_weight=weights))
            for c in (0.001, 0.01, 0.1, 1.0)
        ]

    def baseline_predict(self, estimator: Any, features: Any) -> Floats:
        predictions: Floats = estimator.predict_proba(features)
        return predictions


def _lists(target: NDArray[Any], separator: str) -> list[list[str]]:
    if unknown := sum(value is None for value in target):
        raise DataError(f"target must be known, got none in {unknown} rows. An empty string has no class.")
    return [split_labels(str(value), separator) for value in target]


def _check_flags(target: NDArray[Any]) -> None:
    try:
        wrong = ~np.isin(np.asarray(target, dtype=np.float64), (0, 1))
    except (TypeError, ValueError):
        raise DataError("target must be columns of 0 and 1 for multilabel, got text.") from None
    if wrong.any():
        raise DataError(
            f"target must be columns of 0 and 1 for multilabel, got {target[wrong][0]} among "
            f"{int(wrong.sum())} others. Use --task regression for numbers."
        )
