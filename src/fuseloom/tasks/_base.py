"""The contract of a task: everything above knows what is predicted only through it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fuseloom.errors import OptionError, UnknownNameError, did_you_mean
from fuseloom.heads import LinearHead
from fuseloom.merge import Decision

__all__ = ["Metric", "Task"]

Floats = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A score of predictions against the truth.

    ``function`` takes predictions (probabilities ``[N, K]`` or numbers ``[N]`` or ``[N, K]``) and encoded
    targets.
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
    metrics: Mapping[str, Metric]
    """By name; a task of several targets may add those of each."""
    default_metric: ClassVar[str]
    loss_metric: ClassVar[str]
    """The metric closest to the loss; lower is better."""
    decision: ClassVar[Decision]
    """What the outputs are, for a merge of decisions."""
    stratified: ClassVar[bool]
    """Whether made splits keep the shares of the target's values."""
    positions_of: ClassVar[str] = ""
    """Kind of the modality at whose positions it predicts, such as the words of a text; none for rows."""
    on_grid: ClassVar[bool] = False
    """Whether it predicts at the pixels of a grid that all modalities share; such a task can be `resized`."""
    size: tuple[int, int] = (1, 1)
    """Height and width of the grid."""
    notes: tuple[str, ...] = ()
    """How the raw targets were read, where that is not plain."""

    @classmethod
    @abstractmethod
    def learn(cls, target: NDArray[Any], names: Sequence[str] | None = None) -> Self:
        """Learn classes or scale from raw targets ``[N]``, or ``[N, K]`` of several.

        Args:
            target: As the data hold it.
            names: Of the columns of ``[N, K]``; by default their numbers.

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

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy or a pickle is made of the state, as metrics may be functions that have no name."""
        return type(self).from_state, (self.state(),)

    def resized(self, height: int, width: int) -> Self:
        """The same task on a grid of other sides.

        Raises:
            OptionError: the task is of no grid.
        """
        raise OptionError(f"A task of pixels must be one of a grid, got {self.name!r}.")

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Width of the head."""

    def configured(self, options: Mapping[str, Any]) -> Self:
        """The same task with options of its own, of which most have none.

        Raises:
            OptionError: an option that it does not have, or a value that cannot be.
        """
        if options:
            raise OptionError(f"Options of {self.name} must be none, got {sorted(options)}.")
        return self

    @abstractmethod
    def encode(self, target: NDArray[Any]) -> NDArray[Any]:
        """Raw targets to what the loss and the metrics compare with, a row for each."""

    @abstractmethod
    def balanced(self, target: NDArray[Any]) -> Self:
        """The task whose loss gives each class the same weight over encoded targets of training rows.

        Raises:
            OptionError: the task has no classes.
        """

    def blank_outputs(self, target: Tensor) -> Tensor:
        """Outputs that say nothing, of rows with such encoded targets."""
        return torch.zeros(len(target), self.num_outputs)

    @abstractmethod
    def errors(self, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Errors ``[B]``, or ``[B, K]`` of several targets, and their weights of the same shape.

        No weights means that all are one. Outputs are ``[B, K]``, targets encoded.
        """

    def losses(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Losses ``[B]`` of outputs ``[B, K]`` against encoded targets; of several, their weighted mean."""
        errors, weights = self.errors(outputs, target)
        if errors.dim() == 1:
            return errors
        return errors.mean(-1) if weights is None else _weighted_mean(errors, weights, -1)

    def loss(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean loss of outputs ``[B, K]`` against encoded targets, rows weighted by ``weight`` ``[B]``.

        It is the mean over all errors, each weighted by its own weight and by that of its row; 0 where all
        of these are 0.
        """
        errors, weights = self.errors(outputs, target)
        if weight is not None:
            rows = weight if errors.dim() == 1 else weight[:, None].expand_as(errors)
            weights = rows if weights is None else weights * rows
        return errors.mean() if weights is None else _weighted_mean(errors, weights, None)

    @abstractmethod
    def predict(self, outputs: Floats) -> Floats:
        """Outputs ``[N, K]`` to what the metrics take: probabilities or numbers, a row for each."""

    def joined(
        self,
        predictions: Floats,
        of_windows: Floats,
        windows: Mapping[int, Sequence[tuple[int, int]]],
        lengths: Mapping[int, int],
    ) -> Floats:
        """Predictions in which some rows are those of windows, for a task of positions.

        Args:
            predictions: Of all rows.
            of_windows: Of the windows of one row after the other.
            windows: Row -> its windows: first position, and the one behind the last; both grow.
            lengths: Row -> how many positions it has.

        Raises:
            OptionError: the task is of whole rows.
        """
        raise OptionError(f"A task of windows must be one of positions, got {self.name!r}.")

    @abstractmethod
    def columns(self, predictions: Floats) -> dict[str, NDArray[Any]]:
        """Predictions to named columns of a table."""

    @abstractmethod
    def target_columns(self, target: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Raw targets to named columns of a table."""

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

    def metric(self, name: str | None) -> tuple[str, Metric]:
        """A metric by name, the task's default for None.

        Raises:
            UnknownNameError: the task has no such metric.
        """
        name = name if name is not None else self.default_metric
        if name not in self.metrics:
            hint = did_you_mean(name, self.metrics)
            raise UnknownNameError(f"Unknown metric {name!r} of {self.name}.{hint}")
        return name, self.metrics[name]


def _weighted_mean(errors: Tensor, weights: Tensor, axis: int | None) -> Tensor:
    total = weights.sum(axis).clamp(min=torch.finfo(weights.dtype).tiny)
    return (errors * weights).sum(axis) / total
