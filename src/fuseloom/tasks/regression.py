"""One number, or several."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.errors import DataError, OptionError
from fuseloom.metrics.regression import OfTarget, mae, over_targets, pearson, r2, rmse
from fuseloom.metrics.sentiment import VARIANTS, acc2, acc5, acc7, f1
from fuseloom.registry import register
from fuseloom.tasks._base import Floats, Metric, Task
from fuseloom.tasks._per_target import PerTarget

__all__ = ["Regression"]


@register("regression")
class Regression(Task):
    """One number or several, by squared error on standardised targets; predictions are in their units.

    A metric of several targets is the mean over them; that of one is called ``r2_<name>``. A target that is
    NaN in some rows counts neither in the loss nor in a metric there.

    Args:
        mean: Mean of the targets learnt from, one for each.
        scale: Their standard deviation.
        names: Of several targets; empty for one.

    Example:
        >>> task = Regression.learn(np.array([1.0, 3.0]))
        >>> task.predict(np.array([[1.0]])).tolist()
        [3.0]
        >>> both = Regression.learn(np.array([[1.0, 0.0], [3.0, np.nan], [5.0, 8.0]]), ["calm", "joy"])
        >>> both.predict(np.array([[0.0, 1.0]])).tolist(), "rmse_joy" in both.metrics
        ([[3.0, 8.0]], True)
    """

    metrics: dict[str, Metric] = {
        "r2": Metric(function=r2),
        "rmse": Metric(function=rmse, higher_is_better=False, bounded=False),
        "mae": Metric(function=mae, higher_is_better=False, bounded=False),
        "pearson": Metric(function=pearson),
        "acc5": Metric(function=over_targets(acc5)),
        "acc7": Metric(function=over_targets(acc7)),
        **{f"acc2_{name}": Metric(function=over_targets(partial(acc2, variant=name))) for name in VARIANTS},
        **{f"f1_{name}": Metric(function=over_targets(partial(f1, variant=name))) for name in VARIANTS},
    }
    default_metric = "r2"
    loss_metric = "rmse"
    decision = "value"
    stratified = False

    def __init__(
        self, mean: float | Sequence[float], scale: float | Sequence[float], *, names: Sequence[str] = ()
    ) -> None:
        self.mean = torch.tensor(mean, dtype=torch.float64).reshape(-1)
        self.scale = torch.tensor(scale, dtype=torch.float64).reshape(-1)
        self.names = tuple(names)
        self.metrics = self.metrics | _of_each(self.metrics, self.names)

    @classmethod
    def learn(cls, target: NDArray[Any], names: Sequence[str] | None = None) -> Self:
        numbers = _numbers(target)
        if numbers.ndim == 1:
            _check_varies(numbers, "target")
            return cls(float(numbers.mean()), float(numbers.std()))
        names = [str(k) for k in range(numbers.shape[1])] if names is None else list(names)
        for name, column in zip(names, numbers.T, strict=True):
            _check_varies(column[~np.isnan(column)], f"target {name!r}")
        return cls(np.nanmean(numbers, 0).tolist(), np.nanstd(numbers, 0).tolist(), names=names)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        return cls(state["mean"], state["scale"], names=state.get("names", ()))

    def state(self) -> dict[str, Any]:
        if not self.names:
            return {"mean": self.mean.item(), "scale": self.scale.item()}
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist(), "names": list(self.names)}

    @property
    def num_outputs(self) -> int:
        return len(self.mean)

    def encode(self, target: NDArray[Any]) -> NDArray[Any]:
        numbers = _numbers(target)
        width = 1 if numbers.ndim == 1 else numbers.shape[1]
        if width != self.num_outputs:
            raise DataError(f"target must have {self.num_outputs} columns as in training, got {width}.")
        return numbers

    def balanced(self, target: NDArray[Any]) -> Self:
        raise OptionError(
            "class_weight must be 'none' for regression, got 'balanced'. Numbers have no classes."
        )

    def errors(self, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        mean, scale = self.mean.to(target.device), self.scale.to(target.device)
        if not self.names:
            return (outputs[:, 0] - ((target - mean) / scale).to(outputs.dtype)).square(), None
        known = ~target.isnan()
        wanted = ((target - mean) / scale).nan_to_num(0).to(outputs.dtype)
        return (outputs - wanted).square(), known.to(outputs.dtype)

    def predict(self, outputs: Floats) -> Floats:
        numbers: Floats = outputs.astype(np.float64) * self.scale.numpy() + self.mean.numpy()
        return numbers if self.names else numbers[:, 0]

    def columns(self, predictions: Floats) -> dict[str, NDArray[Any]]:
        return self._named("prediction", predictions)

    def target_columns(self, target: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return self._named("target", _numbers(target))

    def _named(self, what: str, numbers: Floats) -> dict[str, NDArray[Any]]:
        if not self.names:
            return {what: numbers}
        return {f"{what}_{name}": numbers[:, place] for place, name in enumerate(self.names)}

    @property
    def baseline_name(self) -> str:
        return "ridge regression"

    def baselines(self, seed: int) -> list[Any]:
        from sklearn.linear_model import Ridge

        models = [Ridge(alpha=alpha, random_state=seed) for alpha in (0.1, 1.0, 10.0, 100.0, 1000.0)]
        return [PerTarget(model) for model in models] if self.names else models

    def baseline_predict(self, estimator: Any, features: Any) -> Floats:
        predictions: Floats = estimator.predict(features)
        return predictions


def _of_each(metrics: Mapping[str, Metric], names: Sequence[str]) -> dict[str, Metric]:
    """Metrics of single targets; the names of other variants could be mistaken for those of targets."""
    return {
        f"{metric}_{name}": replace(score, function=OfTarget(metric=score.function, place=place))
        for metric, score in metrics.items()
        if "_" not in metric
        for place, name in enumerate(names)
    }


def _check_varies(numbers: Floats, what: str) -> None:
    if len(numbers) == 0 or np.ptp(numbers) == 0:
        got = f"always {numbers[0]:g}" if len(numbers) else "none"
        raise DataError(f"{what} must vary, got {got}. There is nothing to predict.")


def _numbers(target: NDArray[Any]) -> NDArray[np.float64]:
    """Targets ``[N]``, all known, or ``[N, K]`` of several, NaN where one is not known."""
    try:
        numbers = np.asarray(target, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            "target must be numbers for regression, got text. Use --task classification."
        ) from None
    several = numbers.ndim == 2 and numbers.shape[1] > 1
    numbers = numbers if several else numbers.reshape(-1)
    bad = np.isinf(numbers) if several else ~np.isfinite(numbers)
    if bad.any():
        what = "infinite" if several else "NaN or infinite"
        raise DataError(f"target must be finite, got {int(bad.sum())} {what} values.")
    return numbers
