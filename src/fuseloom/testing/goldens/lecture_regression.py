"""Runner of the regressions that read an interaction off their coefficients."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fuseloom.diagnose.interaction_regression import (
    InteractionRegression,
    NestedTest,
    RegressionModel,
    interaction_regression,
)
from fuseloom.testing.goldens._case import Given, Runner
from fuseloom.types import Batch

__all__ = ["RUNNERS"]

_MODELS = ("1_A", "2_A_B", "3_A_B_AxB")
_TESTS = ("1_vs_2", "2_vs_3")
Numbers = Sequence[float | None] | Sequence[Sequence[float | None]]


def _interaction_ols(given: Given) -> dict[str, Tensor]:
    inputs = {name: given.inputs[f"x_{name}"][:, None] for name in ("A", "B")}
    rows = Batch(inputs=inputs, target=given.inputs["y"])
    found, centred = interaction_regression(rows), interaction_regression(rows, centre=True)
    columns: dict[str, Numbers] = {}
    for place, name in enumerate(_MODELS):
        columns |= {f"{name}.{what}": column for what, column in _table(found.models[place]).items()}
        columns[f"{name}.resid"] = _residuals(found, place, rows)
    for place, name in enumerate(_TESTS):
        columns[f"anova_{name}"] = _anova(found.tests[place], found.models[place : place + 2])
    table = _table(centred.models[-1])
    columns |= {f"centred_3.{what}": table[what] for what in ("params", "pvalues")}
    return {f"output.{name}": torch.tensor(column, dtype=torch.float64) for name, column in columns.items()}


def _table(model: RegressionModel) -> dict[str, Numbers]:
    rows = model.coefficients
    summary = [model.r2, model.adjusted_r2, model.statistic, model.p, model.aic, model.bic]
    return {
        "params": [row.estimate.mean for row in rows],
        "bse": [row.error for row in rows],
        "tvalues": [row.statistic for row in rows],
        "pvalues": [row.p for row in rows],
        "conf_int95": [(row.estimate.low, row.estimate.high) for row in rows],
        "bse_HC3": [row.robust_error for row in rows],
        "pvalues_HC3": [row.robust_p for row in rows],
        "cov_params": model.covariance,
        "summary": [*summary, model.log_likelihood, model.variance, model.degrees, model.condition_number],
    }


def _residuals(found: InteractionRegression, place: int, rows: Batch) -> list[float]:
    columns = {name: value[:, 0].numpy() for name, value in rows.inputs.items()}
    assert rows.target is not None
    residuals: list[float] = (rows.target.numpy() - found.predict(columns, model=place)).tolist()
    return residuals


def _anova(test: NestedTest, models: Sequence[RegressionModel]) -> list[float]:
    return [test.statistic, test.p, *(model.deviance for model in models)]


RUNNERS: Mapping[str, Runner] = {"lecture/interaction_ols": Runner(run=_interaction_ols)}
