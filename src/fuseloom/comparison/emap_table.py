"""The table of the EMAP paper on your data: modalities alone, additive models, and such as can interact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fuseloom.comparison.baseline import Baseline, features
from fuseloom.comparison.cluster import Cluster
from fuseloom.comparison.conclude import gather_evidence
from fuseloom.comparison.config import CompareConfig
from fuseloom.comparison.evidence import Evidence
from fuseloom.comparison.jobs import load_weights
from fuseloom.comparison.polynomial_svm import fit_polynomial_svm
from fuseloom.comparison.prepare import Prepared
from fuseloom.comparison.statistics import Statistics
from fuseloom.comparison.study import Study, plan_study, train_study
from fuseloom.comparison.training import Progress, Trained
from fuseloom.data import ReadOptions, load
from fuseloom.diagnose.projection import project
from fuseloom.diagnose.split import Split, split
from fuseloom.errors import DataError
from fuseloom.metrics.interval import Interval
from fuseloom.train.fit import one_thread
from fuseloom.train.journal import RunFolder, refuse_foreign, scratch
from fuseloom.train.lock import holding
from fuseloom.train.remedies import fusion_inside
from fuseloom.types import Batch

__all__ = ["Column", "EmapTable", "EmapTableConfig", "Published", "emap_table"]

Floats = NDArray[np.floating[Any]]

_ADDITIVE = "linear model (additive)"
_NETWORK, _WITH_LINEAR = "neural network", "neural network + linear logits"
_MACHINE = "polynomial SVM"
_BEST, _PROJECTED = "best model", "best model + EMAP"


@dataclass(frozen=True, kw_only=True)
class Published:
    """Figures of a paper, as it prints them."""

    source: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[float | None, ...]]


@dataclass(frozen=True, kw_only=True)
class EmapTableConfig:
    """What the table holds, and how its models are trained."""

    columns: Mapping[str, str]
    """Heading -> target in the data."""
    published: Published
    folds: str = "fold*"
    """Columns that say in which split each row is, a fold each."""
    metric: str = "auc"
    neural_network: str = "mlp"
    """Fusion whose network can interact."""
    with_linear_logits: str = "linear_logits"
    """Fusion that adds a linear model's logits to a network's."""
    seeds: int = 3


@dataclass(frozen=True, kw_only=True)
class Column:
    """Test scores of one target's models, over folds and training runs."""

    heading: str
    target: str
    metric: str
    scores: Mapping[str, Interval]
    """Row of the table -> score."""
    best: str
    """The row that has the best validation score of those that can interact."""
    gap: Interval
    """What that model's interactions are worth: its score less that of its additive projection, positive
    where it is worse without them."""


@dataclass(frozen=True, kw_only=True)
class EmapTable:
    """The table, beside the figures that the paper published on its data."""

    columns: tuple[Column, ...]
    published: Published


def emap_table(
    source: str | Path,
    out: Path,
    config: EmapTableConfig,
    *,
    num_workers: int | Cluster = 1,
    progress: Progress = lambda line: None,
) -> EmapTable:
    """Train the models of each column on the folds of the data, and project the best on additive functions.

    Args:
        source: Folder or table with two or more modalities, the targets and the folds.
        out: Run folder, with a folder per column; an unfinished run in it is continued.
        config: What the table holds.
        num_workers: Processes to train in, or a cluster.
        progress: Called with a line for a person.

    Raises:
        DataError: the data lack a target or the folds, or a target is not one class per row.
        RunError: ``out`` holds something else.
    """
    columns = [
        _column(heading, source, out / target, config, num_workers=num_workers, progress=progress)
        for heading, target in config.columns.items()
    ]
    return EmapTable(columns=tuple(columns), published=config.published)


def _column(
    heading: str,
    source: str | Path,
    out: Path,
    config: EmapTableConfig,
    *,
    num_workers: int | Cluster,
    progress: Progress,
) -> Column:
    target = config.columns[heading]
    dataset = load(source, ReadOptions(target=target, fold_columns=(config.folds,)))
    settings = CompareConfig(
        fusions=(config.neural_network, config.with_linear_logits), metric=config.metric, seeds=config.seeds
    )
    refuse_foreign(out)
    with holding(out), scratch(out) as room:
        study = plan_study(dataset, settings, room, command="", progress=progress)
        if not study.folds[0].task.stratified:
            raise DataError(f"{target} must be one class per row, got a {study.folds[0].task.name} target.")
        folder = RunFolder.open(out, study.request())
        trained, baselines = train_study(study, folder, num_workers, progress)
        progress(f"{heading}: scoring the test data, once")
        with one_thread():
            return _scored(heading, study, trained, baselines, config)


def _scored(
    heading: str,
    study: Study,
    trained: Sequence[Trained],
    baselines: Sequence[Baseline],
    config: EmapTableConfig,
) -> Column:
    machines = [_Machine(fold, study) for fold in study.folds]
    evidence = {
        part: _named(gather_evidence(trained, baselines, study.folds, split=part), machines, part, config)
        for part in ("valid", "test")
    }
    valid = Statistics(evidence["valid"], study.metric[1])
    best = max(
        (_NETWORK, _WITH_LINEAR, _MACHINE), key=lambda name: study.metric[1].better(valid.score(name).mean)
    )
    projected = _projections(best, study, trained, machines, config)
    rows = {**evidence["test"].predictions, _BEST: evidence["test"].predictions[best], _PROJECTED: projected}
    test = Statistics(replace(evidence["test"], predictions=rows), study.metric[1])
    return Column(
        heading=heading,
        target=config.columns[heading],
        metric=study.metric[0],
        scores={name: test.score(name) for name in rows},
        best=best,
        gap=test.difference(_BEST, _PROJECTED).interval(),
    )


def _named(
    evidence: Evidence, machines: Sequence["_Machine"], part: str, config: EmapTableConfig
) -> Evidence:
    """The rows of the table, in their order; modalities and the baseline by their words in it."""
    names = {config.neural_network: _NETWORK, config.with_linear_logits: _WITH_LINEAR}
    alone = [name for name in evidence.predictions if name not in names]
    baseline = alone.pop()  # it comes last
    rows = {f"{name} alone": evidence.predictions[name] for name in alone}
    rows[_ADDITIVE] = evidence.predictions[baseline]
    rows |= {row: evidence.predictions[name] for name, row in names.items()}
    rows[_MACHINE] = [[machine.scores(part)] for machine in machines]
    return replace(evidence, predictions=rows)


class _Machine:
    """The support vector machine of one fold, and what it reads."""

    def __init__(self, fold: Prepared, study: Study) -> None:
        assert fold.rows.all.target is not None
        self.rows = {part: places.cpu().numpy() for part, places in fold.rows.split.items()}
        parts = [
            np.asarray(features(fold.rows, {name: options}).todense())
            for name, options in fold.encoders.items()
        ]
        ends = np.cumsum([0, *(part.shape[1] for part in parts)]).tolist()
        self.places = {name: slice(*ends[at : at + 2]) for at, name in enumerate(fold.encoders)}
        self.columns = np.concatenate(parts, 1)
        target = fold.rows.all.target.cpu().numpy()
        self.model = fit_polynomial_svm(self.columns, target, self.rows, study.metric[1])

    def scores(self, part: str) -> Floats:
        return self.model.scores(self.columns[self.rows[part]])

    def projected(self) -> Floats:
        """Margins ``[N, K]`` of the additive projection over the test rows."""
        columns = self.columns[self.rows["test"]]
        products = {name: self.model.products(columns, place) for name, place in self.places.items()}
        rows = Batch(inputs={name: torch.from_numpy(value) for name, value in products.items()})
        return project(Split(together=self._of_products), rows, partners="all").additive.numpy()

    def _of_products(self, rows: Batch) -> Floats:
        return self.model.margins(reduce(np.add, (value.numpy() for value in rows.inputs.values())))


def _projections(
    best: str,
    study: Study,
    trained: Sequence[Trained],
    machines: Sequence[_Machine],
    config: EmapTableConfig,
) -> list[list[Floats]]:
    """Predictions of the projection of every run of the best model, for the test rows of each fold."""
    if best == _MACHINE:
        return [[machine.projected()] for machine in machines]
    fusion = config.neural_network if best == _NETWORK else config.with_linear_logits
    run = next(one for one in trained if one.candidate.name == fusion)
    found = []
    for candidate, weights, fold in zip(run.candidates, run.weights, study.folds, strict=True):
        rows = fold.rows.take("test", candidate.modalities).take(slice(None))
        models = [fusion_inside(load_weights(candidate.model, path, fold.task)) for path in weights]
        outputs = [project(split(model), rows, partners="all").additive.numpy() for model in models]
        found.append([fold.task.predict(one) for one in outputs])
    return found
