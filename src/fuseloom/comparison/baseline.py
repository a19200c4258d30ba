"""The classical baseline: a linear model on the concatenated features of all modalities."""

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from fuseloom.comparison.features import features
from fuseloom.comparison.jobs import Rows, fold_key
from fuseloom.comparison.measure import median_ms
from fuseloom.tasks import Task
from fuseloom.train.files import write_whole
from fuseloom.train.fit import ClassWeight, weighted_task
from fuseloom.train.journal import RunFolder

__all__ = ["Baseline", "features", "run_baseline"]

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The fitted baseline's predictions per split, and what it cost."""

    predictions: Mapping[str, Floats]
    parameters: int
    train_s: float
    latency_ms: float


def run_baseline(
    rows: Rows,
    task: Task,
    encoders: Mapping[str, Mapping[str, Any]],
    folder: RunFolder,
    *,
    fold: int = 0,
    class_weight: ClassWeight = "none",
) -> Baseline:
    """Fit the task's estimators on training rows and keep the one with the lowest validation loss.

    A finished baseline is read from the run folder.

    Args:
        rows: Of one fold, encoded.
        task: Gives the estimators.
        encoders: Modality name -> kind and options of its encoder.
        folder: Journal and predictions.
        fold: Which fold the rows are.
        class_weight: How the estimators weigh classes; validation rows all count alike.
    """
    key = fold_key("baseline", fold)
    path = folder.file(key)
    if key not in folder.finished:
        assert rows.all.target is not None
        train = rows.all.target[rows.split["train"]]
        cost = _fit(rows, weighted_task(task, train, class_weight), encoders, path)
        folder.record(key, cost)
    cost = folder.finished[key]
    return Baseline(predictions=load_file(path), **cost)


def _fit(rows: Rows, task: Task, encoders: Mapping[str, Mapping[str, Any]], path: Any) -> dict[str, Any]:
    assert rows.all.target is not None
    start = time.perf_counter()
    columns = features(rows, encoders)
    index = {name: split.cpu().numpy() for name, split in rows.split.items()}
    target = rows.all.target.cpu().numpy()
    best: Any = None
    best_loss = float("inf")
    for estimator in task.baselines(seed=0):
        with warnings.catch_warnings():  # one that has not converged yet is judged by its validation loss too
            warnings.simplefilter("ignore")
            estimator.fit(columns[index["train"]], target[index["train"]])
        guess = task.baseline_predict(estimator, columns[index["valid"]])
        loss = task.metrics[task.loss_metric].function(guess, target[index["valid"]])
        if best is None or loss < best_loss:
            best, best_loss = estimator, loss
    train_s = time.perf_counter() - start
    given = {name: np.ascontiguousarray(task.baseline_predict(best, columns[i])) for name, i in index.items()}
    write_whole(path, save(given))
    one = columns[index["test"][:1]]
    return {
        "parameters": int(best.coef_.size + np.size(best.intercept_)),
        "train_s": train_s,
        "latency_ms": median_ms(lambda: task.baseline_predict(best, one)),
    }
