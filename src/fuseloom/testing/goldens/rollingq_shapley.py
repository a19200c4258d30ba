"""Runner of the scores by which BalanceBenchmark compares modalities."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fuseloom.metrics.classification import accuracy, macro_f1
from fuseloom.metrics.purity import purity
from fuseloom.metrics.shapley import shapley_values
from fuseloom.testing.goldens._case import Given, Runner

__all__ = ["RUNNERS"]

_WHO = ("audio", "visual", "output")


def _shapley_metrics(given: Given) -> dict[str, Tensor]:
    target = given.inputs["y_true"].numpy()
    chosen = {who: given.inputs[f"y_pred_{who}"].numpy() for who in _WHO}
    num_classes = 1 + max(int(labels.max()) for labels in (target, *chosen.values()))
    found: dict[str, float] = {}
    for who, labels in chosen.items():
        scores = np.eye(num_classes)[labels]
        found |= {f"acc_{who}": accuracy(scores, target), f"f1_{who}": macro_f1(scores, target)}
    outputs = {f"output.{name}": torch.tensor(score, dtype=torch.float64) for name, score in found.items()}
    pure = purity(given.inputs["purity_pred"].numpy(), given.inputs["purity_true"].numpy())
    return outputs | _shapley(given) | {"output.purity": torch.tensor(pure)}


def _shapley(given: Given) -> dict[str, Tensor]:
    table = {
        frozenset() if name == "(empty)" else frozenset(name.split("+")): np.array(score)
        for name, score in given.option("coalition_accuracy").items()
    }
    return {f"output.shapley_{name}": torch.tensor(float(v)) for name, v in shapley_values(table).items()}


RUNNERS: Mapping[str, Runner] = {"rollingq/shapley_metrics": Runner(run=_shapley_metrics)}
