"""One number."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.errors import DataError
from fuseloom.metrics.regression import mae, pearson, r2, rmse
from fuseloom.metrics.sentiment import VARIANTS, acc2, acc5, acc7, f1
from fuseloom.registry import register
from fuseloom.tasks._base import Floats, Metric, Task

__all__ = ["Regression"]


@register("regression")
class Regression(Task):
    """One number, by squared error on the standardised target; predictions are in the target's units.

    Args:
        mean: Mean of the targets learnt from.
        scale: Their standard deviation.

    Example:
        >>> task = Regression.learn(np.array([1.0, 3.0]))
        >>> task.predict(np.array([[1.0]])).tolist()
        [3.0]
    """

    metrics = {
        "r2": Metric(function=r2),
        "rmse": Metric(function=rmse, higher_is_better=False, bounded=False),
        "mae": Metric(function=mae, higher_is_better=False, bounded=False),
        "pearson": Metric(function=pearson),
        "acc5": Metric(function=acc5),
        "acc7": Metric(function=acc7),
        **{f"acc2_{name}": Metric(function=partial(acc2, variant=name)) for name in VARIANTS},
        **{f"f1_{name}": Metric(function=partial(f1, variant=name)) for name in VARIANTS},
    }
    default_metric = "r2"
    loss_metric = "rmse"
    stratified = False

    def __init__(self, mean: float, scale: float) -> None:
        self.mean, self.scale = mean, scale

    @classmethod
    def learn(cls, target: NDArray[Any]) -> Self:
        numbers = _numbers(target)
        if len(numbers) == 0 or np.ptp(numbers) == 0:
            what = f"always {numbers[0]:g}" if len(numbers) else "none"
            raise DataError(f"target must vary, got {what}. There is nothing to predict.")
        return cls(float(numbers.mean()), float(numbers.std()))

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        return cls(state["mean"], state["scale"])

    def state(self) -> dict[str, Any]:
        return {"mean": self.mean, "scale": self.scale}

    @property
    def num_outputs(self) -> int:
        return 1

    def encode(self, target: NDArray[Any]) -> NDArray[Any]:
        return _numbers(target)

    def losses(self, outputs: Tensor, target: Tensor) -> Tensor:
        wanted = ((target - self.mean) / self.scale).to(outputs.dtype)
        return (outputs[:, 0] - wanted).square()

    def predict(self, outputs: Floats) -> Floats:
        return outputs[:, 0].astype(np.float64) * self.scale + self.mean

    def columns(self, predictions: Floats) -> dict[str, NDArray[Any]]:
        return {"prediction": predictions}

    @property
    def baseline_name(self) -> str:
        return "ridge regression"

    def baselines(self, seed: int) -> list[Any]:
        from sklearn.linear_model import Ridge

        return [Ridge(alpha=alpha, random_state=seed) for alpha in (0.1, 1.0, 10.0, 100.0, 1000.0)]

    def baseline_predict(self, estimator: Any, features: Any) -> Floats:
        predictions: Floats = estimator.predict(features)
        return predictions


def _numbers(target: NDArray[Any]) -> NDArray[np.float64]:
    try:
        numbers = np.asarray(target, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            "target must be numbers for regression, got text. Use --task classification."
        ) from None
    if not np.isfinite(numbers).all():
        bad = int((~np.isfinite(numbers)).sum())
        raise DataError(f"target must be finite, got {bad} NaN or infinite values.")
    return numbers
