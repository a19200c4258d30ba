"""The contract of a task: everything above knows what is predicted only through it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fuseloom.errors import UnknownNameError, did_you_mean
from fuseloom.heads import LinearHead

__all__ = ["Metric", "Task", "infer_task"]

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A score of predictions against the truth.

    ``function`` takes predictions (class probabilities ``[N, K]`` or numbers ``[N]``) and encoded targets.
    """

    function: Callable[[Floats, NDArray[Any]], float]
    higher_is_better: bool = True
    bounded: bool = True
    """Whether a margin is in the metric's own units; where False it is a share of the best score."""

    def better(self, score: float) -> float:
        """The score with its sign turned so that larger is better."""
        return score if self.higher_is_better else -score


class Task(ABC):
    """What is predicted: learnt from the raw targets, and all that follows from it.

    A subclass is final and is registered under its file's name.
    """

    kind: ClassVar[str] = "task"
    name: ClassVar[str] = ""
    metrics: ClassVar[Mapping[str, Metric]]
    default_metric: ClassVar[str]
    loss_metric: ClassVar[str]
    """The metric closest to the loss; lower is better."""
    stratified: ClassVar[bool]
    """Whether made splits keep the shares of the target's values."""

    @classmethod
    @abstractmethod
    def learn(cls, target: NDArray[Any]) -> Self:
        """Learn classes or scale from raw targets ``[N]``.

        Raises:
            DataError: the targets cannot be learnt from.
        """

    @classmethod
    @abstractmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Restore from what `state` gave."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What was learnt, as plain JSON values."""

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Width of the head."""

    @abstractmethod
    def encode(self, target: NDArray[Any]) -> NDArray[Any]:
        """Raw targets ``[N]`` to what the loss and the metrics compare with."""

    @abstractmethod
    def losses(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Losses ``[B]`` of outputs ``[B, K]`` against encoded targets ``[B]``."""

    def loss(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean loss of outputs ``[B, K]`` against encoded targets ``[B]``, rows weighted."""
        losses = self.losses(outputs, target)
        return losses.mean() if weight is None else (losses * weight).sum() / weight.sum()

    @abstractmethod
    def predict(self, outputs: Floats) -> Floats:
        """Outputs ``[N, K]`` to what the metrics take: probabilities ``[N, K]`` or numbers ``[N]``."""

    @abstractmethod
    def columns(self, predictions: Floats) -> dict[str, NDArray[Any]]:
        """Predictions to named columns of a table."""

    @abstractmethod
    def baselines(self, seed: int) -> list[Any]:
        """Classical estimators (scikit-learn) to compare with, of which validation data choose one."""

    @property
    @abstractmethod
    def baseline_name(self) -> str:
        """What the baseline is called."""

    @abstractmethod
    def baseline_predict(self, estimator: Any, features: Any) -> Floats:
        """Predictions of the fitted baseline, in the form of `predict`."""

    def head(self, dim: int, *, dropout: float = 0.0) -> nn.Module:
        """The head that goes after a merge of width ``dim``."""
        return LinearHead(dim, self.num_outputs, dropout=dropout)

    @classmethod
    def metric(cls, name: str | None) -> tuple[str, Metric]:
        """A metric by name, the task's default for None.

        Raises:
            UnknownNameError: the task has no such metric.
        """
        name = name if name is not None else cls.default_metric
        if name not in cls.metrics:
            hint = did_you_mean(name, cls.metrics)
            raise UnknownNameError(f"Unknown metric {name!r} of {cls.name}.{hint}")
        return name, cls.metrics[name]


def infer_task(target: NDArray[Any]) -> str:
    """Name of the task that raw targets suggest: strings or at most 20 whole numbers are classes.

    Example:
        >>> infer_task(np.array(["yes", "no"])), infer_task(np.array([0.5, 2.25]))
        ('classification', 'regression')
    """
    if target.dtype.kind in "OUSb":
        return "classification"
    values = np.unique(target[np.isfinite(target)])
    whole = bool((values == np.round(values)).all())
    return "classification" if whole and len(values) <= 20 else "regression"
