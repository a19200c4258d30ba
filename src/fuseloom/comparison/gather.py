"""All findings of a comparison, gathered from the best run of each model on the first fold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.comparison.config import CompareConfig
from fuseloom.comparison.diagnosis import Subject, diagnose_model, some_rows
from fuseloom.comparison.findings import Calibration, Confusion, Disagreement, Findings, Fitted
from fuseloom.comparison.insight import calibrated, confused, disagreements, fitted, learning_curves
from fuseloom.comparison.prepare import Prepared
from fuseloom.comparison.retraining import gradients_over_training
from fuseloom.comparison.training import Trained
from fuseloom.data.exhibit import exhibits
from fuseloom.diagnose.health import Health, health
from fuseloom.diagnose.subsets import Subsets, subsets
from fuseloom.models import FusionModel
from fuseloom.tasks import Metric
from fuseloom.train.fit import exact_outputs

__all__ = ["BestRuns", "gather"]

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class BestRuns:
    """What the run with the lowest validation loss of each model says on the first fold."""

    ready: Prepared
    config: CompareConfig
    trained: Mapping[str, Trained]
    """Model name -> its runs."""
    predictions: Mapping[str, Mapping[str, Floats]]
    """Split -> model name -> predictions of its best run."""
    targets: Mapping[str, NDArray[Any]]
    """Split -> the truth, encoded."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes where each row has one of them, otherwise none."""
        guess = next(iter(self.predictions["test"].values()))
        if guess.ndim != 2 or self.targets["test"].ndim != 1:
            return ()
        return tuple(map(str, self.ready.task.columns(np.eye(guess.shape[1]))["prediction"]))

    @property
    def numbers(self) -> bool:
        """Whether each row has one number."""
        return next(iter(self.predictions["test"].values())).ndim == 1

    def alone(self) -> dict[str, Floats]:
        """Modality -> predictions for test rows of its own model."""
        runs = {name: run.candidate for name, run in self.trained.items()}
        single = {one.modalities[0]: name for name, one in runs.items() if one.role == "unimodal"}
        return {modality: self.predictions["test"][name] for modality, name in single.items()}


def gather(
    best: BestRuns,
    models: tuple[str, str, str],
    metric: tuple[str, Metric],
    load: Callable[[str], FusionModel],
) -> Findings:
    """Look closely at the models that the answer is about, and at the data.

    Args:
        best: Predictions of all models.
        models: Names of the recommended model, of the best fusion and of the best single modality.
        metric: Name and metric.
        load: Model name to the model of its best run.
    """
    recommended, fusion, alone = models
    asked = tuple(dict.fromkeys([recommended, fusion]))
    return Findings(
        subsets=tuple(_subsets(name, best, metric, load) for name in asked if _is_fused(name, best)),
        curves=tuple(
            curve for name in dict.fromkeys([*asked, alone]) for curve in learning_curves(best.trained[name])
        ),
        calibration=_calibration(asked, best) if best.classes else (),
        confusion=_confusion(asked, best) if best.classes else (),
        fitted=_fitted(asked, best) if best.numbers else (),
        disagreements=_disagreements(fusion, best) if best.classes or best.numbers else (),
        health=_health(best),
        diagnosis=(diagnose_model(_subject(fusion, best, metric, load(fusion))),),
    )


def _is_fused(name: str, best: BestRuns) -> bool:
    return len(best.trained[name].candidate.modalities) > 1


def _subsets(
    name: str,
    best: BestRuns,
    metric: tuple[str, Metric],
    load: Callable[[str], FusionModel],
) -> Subsets:
    rows = best.ready.rows.take("test", best.trained[name].candidate.modalities)
    model, task = load(name), best.ready.task
    return subsets(
        lambda given: task.predict(exact_outputs(model, given)),
        rows.take(slice(None)),
        model=name,
        metric=metric,
        alone=best.alone(),
    )


def _subject(name: str, best: BestRuns, metric: tuple[str, Metric], model: FusionModel) -> Subject:
    rows = best.ready.rows.take("test", best.trained[name].candidate.modalities)
    places = some_rows(rows)
    numbers = rows.rows[places].tolist()
    return Subject(
        name=name,
        model=model,
        task=best.ready.task,
        metric=metric,
        rows=rows.take(places),
        alone={modality: guess[places.numpy()] for modality, guess in best.alone().items()},
        ids=[best.ready.dataset.ids[row] for row in numbers],
        course=partial(gradients_over_training, name, best.trained, best.ready, best.config),
        dataset=best.ready.dataset,
        places=numbers,
        show_rows=best.config.show_rows,
    )


def _calibration(names: tuple[str, ...], best: BestRuns) -> tuple[Calibration, ...]:
    splits = ("valid", "test")
    seen = {
        name: [(best.predictions[split][name], best.targets[split]) for split in splits] for name in names
    }
    return tuple(calibrated(name, valid, test) for name, (valid, test) in seen.items())


def _confusion(names: tuple[str, ...], best: BestRuns) -> tuple[Confusion, ...]:
    test, target = best.predictions["test"], best.targets["test"]
    return tuple(confused(name, test[name], target, best.classes) for name in names)


def _fitted(names: tuple[str, ...], best: BestRuns) -> tuple[Fitted, ...]:
    test, target = best.predictions["test"], best.targets["test"]
    return tuple(fitted(name, test[name], target) for name in names)


def _disagreements(fusion: str, best: BestRuns) -> tuple[Disagreement, ...]:
    rows = best.ready.rows.split["test"].tolist()
    target, classes = best.targets["test"], best.classes
    held = best.ready.dataset.modalities if best.config.show_rows else {}
    found = disagreements(
        best.ready.task,
        best.alone(),
        (fusion, best.predictions["test"][fusion]),
        ids=[best.ready.dataset.ids[row] for row in rows],
        target=[classes[value] if classes else f"{value:.4g}" for value in target.tolist()],
        looks=lambda place: exhibits(held, rows[place]),
    )
    return tuple(found)


def _health(best: BestRuns) -> Health:
    rows = best.ready.rows
    assert rows.all.target is not None
    target = rows.all.target.cpu().numpy()
    return health(
        best.ready.dataset,
        rows.all,
        {part: places.cpu().numpy() for part, places in rows.split.items()},
        target=np.array(best.classes)[target] if best.classes else target,
    )
