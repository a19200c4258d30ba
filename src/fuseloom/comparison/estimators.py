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
from sklearn.utils import check_array
from sklearn.utils.class_weight import compute_class_weight
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
from fuseloom.errors import DataError, OptionError
from fuseloom.models import ModelConfig, build_model
from fuseloom.tasks import Task
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.multilabel import Multilabel
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
    def _learn(self, y: NDArray[Any]) -> tuple[Task, NDArray[Any]]:
        """The task, and the encoded target, of ``[N]`` or of several ``[N, K]``."""

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803  scikit-learn's name
        """Train on rows ``X`` with targets ``y``, ``[N]`` or ``[N, K]``.

        Args:
            X: A DataFrame (``text`` and ``tabular`` name its columns, or they are inferred), a dict modality
                name -> array ``[N, D]`` or ``[N, T, D]`` or strings, or one array ``[N, D]``. NaN is missing.
            y: Classes ``[N]``, 0 and 1 for each of several classes ``[N, K]``, or numbers of either shape.

        Raises:
            DataError: rows and targets do not fit, or cannot be learnt from.
            ModalityError: the fusion needs more modalities.
            OptionError: the weights of classes are not those of the targets.
        """
        dataset, targets = self._read(X, y)
        task, target = self._learn(targets)
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

    def _read(self, X: Any, y: Any) -> tuple[Dataset, NDArray[Any]]:  # noqa: N803
        """The rows, and the targets ``[N]`` or ``[N, K]``."""
        if _has_modalities(X):
            self.n_features_in_ = len(X.keys())
            targets = _targets(y)
            options = ReadOptions(text=tuple(self.text), tabular=tuple(self.tabular))
            one = targets if targets.ndim == 1 else np.arange(len(targets))  # rows are read by one target
            return load(X, options, target=one), targets
        table, y = validate_data(
            self, X, y, multi_output=True, ensure_all_finite="allow-nan", ensure_min_samples=2
        )
        return _one_table(table), _targets(y)

    def _read_again(self, X: Any) -> Dataset:  # noqa: N803
        if _has_modalities(X):
            return read_rows(X, self.schema_)
        return _one_table(validate_data(self, X, ensure_all_finite="allow-nan", reset=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.multi_output = True
        return tags


class FusionClassifier(ClassifierMixin, _FusionEstimator):  # type: ignore[misc]
    """A fusion model as a scikit-learn classifier, of one class per row or of any number of them.

    Several classes are given as an indicator ``[N, K]`` of 0 and 1 and predicted so.

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
        class_weight: ``balanced`` weighs each class alike in the loss, a dict class -> weight as it says; of
            several classes a list of such dicts, for 0 and 1 of each.

    Example:
        >>> rows = {"a": np.repeat(np.eye(2), 10, 0), "b": np.zeros((20, 3))}
        >>> model = FusionClassifier("sum", random_state=0).fit(rows, ["x"] * 10 + ["y"] * 10)
        >>> model.predict({"a": np.eye(2), "b": np.zeros((2, 3))})
        array(['x', 'y'], dtype='<U1')
    """

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
        class_weight: Any = None,
    ) -> None:
        super().__init__(
            fusion,
            text=text,
            tabular=tabular,
            dim=dim,
            dropout=dropout,
            lr=lr,
            batch_size=batch_size,
            max_epochs=max_epochs,
            validation_fraction=validation_fraction,
            random_state=random_state,
        )
        self.class_weight = class_weight

    def _learn(self, y: NDArray[Any]) -> tuple[Task, NDArray[Any]]:
        check_classification_targets(y)
        if y.ndim == 2:
            self.classes_ = np.arange(y.shape[1])
            several = Multilabel.learn(y)
            return self._weighted(several, several.encode(y)), several.encode(y)
        self.classes_, encoded = np.unique(y, return_inverse=True)
        task = Classification.learn(np.arange(len(self.classes_)))
        if self.class_weight is not None:
            weights = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
            task = Classification(task.classes, numeric=task.numeric, weights=weights.tolist())
        return task, encoded.astype(np.int64)

    def _weighted(self, task: Multilabel, flags: Floats) -> Multilabel:
        if self.class_weight is None:
            return task
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            return task.balanced(flags)
        if not isinstance(self.class_weight, list) or len(self.class_weight) != task.num_outputs:
            raise OptionError(
                f"class_weight must be 'balanced' or a list of {task.num_outputs} dicts, one per class with "
                f"the weights of 0 and 1, got {self.class_weight!r}."
            )
        pairs = [(one.get(0, 1.0), one.get(1, 1.0)) for one in self.class_weight]
        return Multilabel(task.classes, separator=task.separator, weights=pairs)

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """The likeliest class of each row ``[N]``, or 0 and 1 for each of several ``[N, K]``."""
        check_is_fitted(self)
        probabilities = self.predict_proba(X)
        if isinstance(self.task_, Multilabel):
            return (probabilities >= 0.5).astype(np.int64)
        chosen: NDArray[Any] = self.classes_[probabilities.argmax(1)]
        return chosen

    def predict_proba(self, X: Any) -> Floats:  # noqa: N803
        """Probability of each class ``[N, K]``, in the order of ``classes_``."""
        return self._predictions(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class FusionRegressor(RegressorMixin, _FusionEstimator):  # type: ignore[misc]
    """A fusion model as a scikit-learn regressor of one number or several; arguments as `FusionClassifier`.

    Example:
        >>> rows = {"a": np.linspace(0, 1, 40)[:, None], "b": np.zeros((40, 1))}
        >>> model = FusionRegressor("sum", random_state=0).fit(rows, np.linspace(5, 9, 40))
        >>> bool(abs(model.predict({"a": np.array([[0.5]]), "b": np.zeros((1, 1))})[0] - 7) < 0.5)
        True
    """

    def _learn(self, y: NDArray[Any]) -> tuple[Task, NDArray[Any]]:
        numbers = np.asarray(y, dtype=np.float64)
        task = Regression.learn(numbers)
        return task, task.encode(numbers)

    def predict(self, X: Any) -> Floats:  # noqa: N803
        """A number for each row ``[N]``, or several ``[N, K]``, in the units of the targets."""
        return self._predictions(X)


def _targets(y: Any) -> NDArray[Any]:
    """Targets ``[N]``, also of one column, or ``[N, K]`` of several."""
    dense = y.toarray() if issparse(y) else check_array(y, ensure_2d=False, dtype=None, input_name="y")
    several: NDArray[Any] = dense
    if dense.ndim != 2 or dense.shape[1] == 1:
        several = column_or_1d(dense, warn=True)
    return several


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
