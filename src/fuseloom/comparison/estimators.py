"""The same models as scikit-learn estimators: ``fit``, ``predict``, ``predict_proba``, ``score``."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, check_random_state, column_or_1d, validate_data

from fuseloom.data import (
    Dataset,
    ModalitySpec,
    ReadOptions,
    Schema,
    Table,
    encode,
    fit_preprocessors,
    load,
    read_rows,
)
from fuseloom.errors import DataError
from fuseloom.models import ModelConfig, build_model
from fuseloom.tasks import Task
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.regression import Regression
from fuseloom.train.fit import FitConfig, exact_outputs, fit, one_thread
from fuseloom.types import Batch

__all__ = ["FusionClassifier", "FusionRegressor"]

Floats = NDArray[np.floating[Any]]


class _FusionEstimator(BaseEstimator, ABC):  # type: ignore[misc]
    """What both estimators share; rows are a DataFrame, a dict of arrays, or one array ``[N, D]``."""

    def __init__(  # noqa: PLR0913  scikit-learn wants every setting here
        self,
        fusion: str = "concat",
        *,
        text: Sequence[str] = (),
        tabular: Sequence[str] = (),
        dim: int = 64,
        dropout: float = 0.2,
        lr: float = 1e-3,
        batch_size: int | None = None,
        max_epochs: int = 100,
        validation_fraction: float = 0.2,
        random_state: Any = None,
    ) -> None:
        self.fusion = fusion
        self.text = text
        self.tabular = tabular
        self.dim = dim
        self.dropout = dropout
        self.lr = lr
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    @abstractmethod
    def _learn(self, y: Any) -> tuple[Task, NDArray[Any]]:
        """The task, and the encoded target."""

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803  scikit-learn's name
        """Train on rows ``X`` with targets ``y`` ``[N]``.

        Args:
            X: A DataFrame (``text`` and ``tabular`` name its columns, or they are inferred), a dict modality
                name -> array ``[N, D]`` or ``[N, T, D]`` or strings, or one array ``[N, D]``. NaN is missing.
            y: Classes or numbers.

        Raises:
            DataError: rows and targets do not fit, or cannot be learnt from.
            ModalityError: the fusion needs more modalities.
        """
        dataset = self._read(X, y)
        task, target = self._learn(column_or_1d(y, warn=True))
        if len(target) != len(dataset):
            raise DataError(f"y must have {len(dataset)} values like X, got {len(target)}.")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        train, valid = self._split(target, task, seed)
        self.schema_, self.task_ = dataset.schema, task
        self.preprocessors_ = fit_preprocessors(dataset, train)
        inputs, masks = encode(dataset, self.preprocessors_)
        rows = Batch(inputs=inputs, masks=masks, target=torch.from_numpy(target))
        settings = FitConfig(lr=self.lr, batch_size=self.batch_size, max_epochs=self.max_epochs, seed=seed)
        encoders = {name: {"kind": p.kind, **p.encoder_options()} for name, p in self.preprocessors_.items()}
        config = ModelConfig(encoders=encoders, fusion=self.fusion, dim=self.dim, dropout=self.dropout)
        with one_thread():
            self.model_, self.result_ = fit(
                lambda: build_model(config, task),
                rows.take(torch.from_numpy(train)),
                rows.take(torch.from_numpy(valid)),
                task,
                settings,
            )
        return self

    def _predictions(self, X: Any) -> Floats:  # noqa: N803
        check_is_fitted(self)
        dataset = self._read_again(X)
        inputs, masks = encode(dataset, self.preprocessors_)
        outputs = exact_outputs(self.model_, Batch(inputs=inputs, masks=masks))
        predictions: Floats = self.task_.predict(outputs)
        return predictions

    def _split(self, target: NDArray[Any], task: Task, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
        rows = np.arange(len(target))
        held = round(self.validation_fraction * len(rows))
        strata = (
            target if task.stratified and held >= task.num_outputs and np.bincount(target).min() > 1 else None
        )
        if held < 1:  # too few rows to hold any out: the training loss decides when to stop
            return rows, rows
        train, valid = train_test_split(rows, test_size=held, random_state=seed, stratify=strata)
        return train, valid

    def _read(self, X: Any, y: Any) -> Dataset:  # noqa: N803
        if _has_modalities(X):
            self.n_features_in_ = len(X.keys())
            return load(X, ReadOptions(text=tuple(self.text), tabular=tuple(self.tabular)), target=y)
        table, _ = validate_data(self, X, y, ensure_all_finite="allow-nan", ensure_min_samples=2)
        return _one_table(table)

    def _read_again(self, X: Any) -> Dataset:  # noqa: N803
        if _has_modalities(X):
            return read_rows(X, self.schema_)
        return _one_table(validate_data(self, X, ensure_all_finite="allow-nan", reset=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class FusionClassifier(ClassifierMixin, _FusionEstimator):  # type: ignore[misc]
    """A fusion model as a scikit-learn classifier.

    Args:
        fusion: ``MERGE`` or ``EXCHANGE+MERGE``, as `fuseloom.list_fusions` names them.
        text: For a DataFrame, columns of text, ``COLUMN`` or ``NAME=COLUMN``.
        tabular: For a DataFrame, groups of number and category columns, ``[NAME=]COLUMN,COLUMN``.
        dim: Width of every stream and of the fused value.
        dropout: In encoders and head.
        lr: Learning rate of AdamW.
        batch_size: Rows per step; by default it grows with the number of rows.
        max_epochs: Passes over the training rows at most.
        validation_fraction: Share of the rows held out to decide when to stop.
        random_state: Of the held-out rows, the weights and the order of rows.

    Example:
        >>> rows = {"a": np.repeat(np.eye(2), 10, 0), "b": np.zeros((20, 3))}
        >>> model = FusionClassifier("sum", random_state=0).fit(rows, ["x"] * 10 + ["y"] * 10)
        >>> model.predict({"a": np.eye(2), "b": np.zeros((2, 3))})
        array(['x', 'y'], dtype='<U1')
    """

    def _learn(self, y: Any) -> tuple[Task, NDArray[Any]]:
        check_classification_targets(y)
        self.classes_, encoded = np.unique(y, return_inverse=True)
        return Classification.learn(np.arange(len(self.classes_))), encoded.astype(np.int64)

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """The likeliest class of each row ``[N]``."""
        check_is_fitted(self)
        chosen: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(1)]
        return chosen

    def predict_proba(self, X: Any) -> Floats:  # noqa: N803
        """Probability of each class ``[N, K]``, in the order of ``classes_``."""
        return self._predictions(X)


class FusionRegressor(RegressorMixin, _FusionEstimator):  # type: ignore[misc]
    """A fusion model as a scikit-learn regressor; arguments as `FusionClassifier`.

    Example:
        >>> rows = {"a": np.linspace(0, 1, 40)[:, None], "b": np.zeros((40, 1))}
        >>> model = FusionRegressor("sum", random_state=0).fit(rows, np.linspace(5, 9, 40))
        >>> bool(abs(model.predict({"a": np.array([[0.5]]), "b": np.zeros((1, 1))})[0] - 7) < 0.5)
        True
    """

    def _learn(self, y: Any) -> tuple[Task, NDArray[Any]]:
        numbers = np.asarray(y, dtype=np.float64)
        task = Regression.learn(numbers)
        return task, task.encode(numbers)

    def predict(self, X: Any) -> Floats:  # noqa: N803
        """A number for each row ``[N]``, in the units of the target."""
        return self._predictions(X)


def _has_modalities(X: Any) -> bool:  # noqa: N803
    """Whether rows come as named columns or arrays; a sparse matrix may be a dict as well."""
    return (isinstance(X, Mapping) or hasattr(X, "columns")) and not issparse(X)


def _one_table(X: NDArray[Any]) -> Dataset:  # noqa: N803
    columns = {f"column{place}": np.asarray(X[:, place], dtype=np.float64) for place in range(X.shape[1])}
    spec = ModalitySpec(kind="table", columns=dict.fromkeys(columns, "number"))
    return Dataset(
        name="array",
        modalities={"features": Table(numbers=columns, categories={})},
        target=None,
        ids=[str(row) for row in range(len(X))],
        split=None,
        schema=Schema(source_format="array", modalities={"features": spec}),
    )
