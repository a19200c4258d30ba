"""The classical baseline: a linear model on the concatenated features of all modalities."""

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor

from fuseloom.comparison.jobs import Rows, fold_key
from fuseloom.comparison.measure import median_ms
from fuseloom.nn import masked_mean
from fuseloom.tasks import Task
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
    rows: Rows, task: Task, encoders: Mapping[str, Mapping[str, Any]], folder: RunFolder, *, fold: int = 0
) -> Baseline:
    """Fit the task's estimators on training rows and keep the one with the lowest validation loss.

    A finished baseline is read from the run folder.
    """
    key = fold_key("baseline", fold)
    path = folder.file(key)
    if key not in folder.finished or not path.is_file():
        cost = _fit(rows, task, encoders, path)
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
    save_file(given, path)
    one = columns[index["test"][:1]]
    return {
        "parameters": int(best.coef_.size + np.size(best.intercept_)),
        "train_s": train_s,
        "latency_ms": median_ms(lambda: task.baseline_predict(best, one)),
    }


def features(rows: Rows, encoders: Mapping[str, Mapping[str, Any]]) -> Any:
    """A sparse matrix with a row per row: what a linear model can read of each modality.

    Vectors as they are, sequences averaged, missing numbers as zero with a flag, categories one-hot, text as
    TF-IDF of its byte n-grams, fitted on training rows.
    """
    from scipy.sparse import csr_matrix, hstack

    train = rows.split["train"].cpu().numpy()
    parts = []
    for name, options in encoders.items():
        value, mask = rows.all.inputs[name].cpu(), rows.all.masks[name].cpu()
        if options["kind"] == "text":
            parts.append(_text_features(value, mask, train))
        elif options["kind"] == "table":
            parts.append(csr_matrix(_table_features(value, options)))
        else:
            parts.append(csr_matrix(_vector_features(value, mask)))
    return hstack(parts).tocsr()


def _vector_features(value: Tensor, mask: Tensor) -> Floats:
    known = value.masked_fill(~mask[..., None], 0).double()
    vectors: Floats = (masked_mean(known, mask) if known.dim() == 3 else known).numpy()
    return vectors


def _table_features(row: Tensor, options: Mapping[str, Any]) -> Floats:
    count = options["num_numbers"]
    numbers, codes = row[:, :count].double(), row[:, count:].nan_to_num(0).long()
    missing = numbers.isnan()
    hot = [
        torch.nn.functional.one_hot(codes[:, k], size).double()
        for k, size in enumerate(options["cardinalities"])
    ]
    table: Floats = torch.cat([numbers.nan_to_num(0), missing.double(), *hot], 1).numpy()
    return table


def _text_features(text: Tensor, mask: Tensor, train: NDArray[Any]) -> Any:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

    strings = [
        bytes(row[kept].tolist()).decode("utf-8", errors="replace")
        for row, kept in zip(text, mask, strict=True)
    ]
    vectorizer = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 4), max_features=20_000, sublinear_tf=True
    )
    try:
        vectorizer.fit([strings[i] for i in train])
    except ValueError:  # no training row has any text
        return csr_matrix((len(strings), 1))
    return vectorizer.transform(strings)
