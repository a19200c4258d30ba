"""From finished runs to the answer: scores, recommendation, reliance and the saved model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.comparison.baseline import Baseline
from fuseloom.comparison.config import Candidate, CompareConfig
from fuseloom.comparison.decide import Evidence, decide, ranking
from fuseloom.comparison.jobs import Rows, load_weights
from fuseloom.comparison.measure import count_parameters, latency_ms
from fuseloom.comparison.prepare import Prepared
from fuseloom.comparison.result import DataSummary, Entry, ModalitySummary, Recommendation
from fuseloom.comparison.statistics import over_runs
from fuseloom.comparison.training import Trained
from fuseloom.diagnose.reliance import Reliance, reliance
from fuseloom.models import FusionModel
from fuseloom.tasks import Metric
from fuseloom.train.fit import exact_outputs
from fuseloom.train.predictions import predictions_csv
from fuseloom.train.saved import SavedModel
from fuseloom.types import Batch

__all__ = ["Answer", "conclude", "summarise"]

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the finished runs say."""

    entries: tuple[Entry, ...]
    recommendation: Recommendation
    reliance: tuple[Reliance, ...]


def conclude(
    folds: Sequence[Prepared],
    trained: Sequence[Trained],
    baselines: Sequence[Baseline],
    metric: tuple[str, Metric],
    *,
    config: CompareConfig,
    out: Path,
) -> Answer:
    """Score every model, recommend one, and save it with its test predictions under ``out``.

    Scores are over all folds; what a model costs, how it relies on its modalities and what is saved is that
    of the first fold.
    """
    ready, score = folds[0], metric[1]
    evidence = {split: _evidence(trained, folds, split) for split in ("valid", "test")}
    entries = [_entry(run, ready, evidence, score) for run in trained]
    recommendation = decide(entries, evidence["valid"], evidence["test"], metric, config.margin)
    runs = {run.candidate.name: run for run in trained}
    wanted = dict.fromkeys([recommendation.name, recommendation.best_fusion])
    leans = tuple(_reliance(runs[name], ready, metric) for name in wanted)
    _save(runs[recommendation.name], folds, recommendation, out)
    everyone = [*entries, _baseline_entry(folds, baselines, score)]
    return Answer(entries=tuple(ranking(everyone, score)), recommendation=recommendation, reliance=leans)


def summarise(folds: Sequence[Prepared], notes: Sequence[str]) -> DataSummary:
    """What was compared on, in words; ``notes`` come after those on the data."""
    ready = folds[0]
    masks = ready.rows.all.masks
    modalities = tuple(
        ModalitySummary(
            name=name,
            kind=preprocessor.kind,
            shape=_describe(
                preprocessor.kind, preprocessor.encoder_options(), ready.rows.all.inputs[name].shape
            ),
            missing=int((~masks[name].flatten(1).any(1) if masks[name].dim() > 1 else ~masks[name]).sum()),
        )
        for name, preprocessor in ready.preprocessors.items()
    )
    return DataSummary(
        name=ready.dataset.name,
        modalities=modalities,
        target=ready.dataset.schema.target or "target",
        rows={name: len(rows) for name, rows in ready.rows.split.items()},
        folds=len(folds),
        set_aside=tuple((row.where, row.reason) for row in ready.dataset.set_aside),
        notes=(*ready.notes, *notes),
    )


def _describe(kind: str, options: Mapping[str, Any], shape: Sequence[int]) -> str:
    if kind == "text":
        return f"text up to {shape[1]} bytes"
    if kind == "table":
        return f"{options['num_numbers']} numbers, {len(options['cardinalities'])} categories"
    return f"{shape[1]} steps of {shape[2]} features" if len(shape) == 3 else f"{shape[1]} features"


def _target(rows: Rows, split: str) -> NDArray[Any]:
    assert rows.all.target is not None
    return rows.all.target[rows.split[split]].cpu().numpy()


def _predict(model: FusionModel, rows: Batch, ready: Prepared) -> Floats:
    return ready.task.predict(exact_outputs(model, rows))


def _evidence(trained: Sequence[Trained], folds: Sequence[Prepared], split: str) -> Evidence:
    return Evidence(
        predictions={run.candidate.name: _predict_runs(run, folds, split) for run in trained},
        targets=[_target(fold.rows, split) for fold in folds],
    )


def _predict_runs(run: Trained, folds: Sequence[Prepared], split: str) -> list[list[Floats]]:
    found = []
    for candidate, weights, ready in zip(run.candidates, run.weights, folds, strict=True):
        rows = ready.rows.take(split, candidate.modalities)
        models = (load_weights(candidate.model, path, ready.task) for path in weights)
        found.append([_predict(model, rows, ready) for model in models])
    return found


def _entry(run: Trained, ready: Prepared, evidence: Mapping[str, Evidence], metric: Metric) -> Entry:
    candidate = run.candidate
    scores = {
        split: [
            [metric.function(seed, target) for seed in fold]
            for fold, target in zip(part.predictions[candidate.name], part.targets, strict=True)
        ]
        for split, part in evidence.items()
    }
    model = load_weights(candidate.model, run.weights[0][0], ready.task)
    return Entry(
        **_identity(candidate),
        learning_rate=run.learning_rate,
        valid=over_runs(scores["valid"]),
        test=over_runs(scores["test"]),
        valid_by_run=tuple(chain.from_iterable(scores["valid"])),
        test_by_run=tuple(chain.from_iterable(scores["test"])),
        parameters=count_parameters(model),
        train_s=float(np.median(run.train_s)),
        latency_ms=latency_ms(model, ready.rows.take("train", candidate.modalities)),
        memory_mb=run.memory_mb,
    )


def _identity(candidate: Candidate) -> dict[str, Any]:
    return {
        "name": candidate.name,
        "role": candidate.role,
        "modalities": candidate.modalities,
        "interaction": candidate.interaction,
    }


def _baseline_entry(folds: Sequence[Prepared], baselines: Sequence[Baseline], metric: Metric) -> Entry:
    valid, test = (
        [
            metric.function(baseline.predictions[split], _target(fold.rows, split))
            for fold, baseline in zip(folds, baselines, strict=True)
        ]
        for split in ("valid", "test")
    )
    return Entry(
        name=folds[0].task.baseline_name,
        role="baseline",
        modalities=tuple(folds[0].preprocessors),
        interaction="additive",
        learning_rate=None,
        valid=over_runs([[score] for score in valid]),
        test=over_runs([[score] for score in test]),
        valid_by_run=tuple(valid),
        test_by_run=tuple(test),
        parameters=baselines[0].parameters,
        train_s=float(np.median([baseline.train_s for baseline in baselines])),
        latency_ms=baselines[0].latency_ms,
        memory_mb=None,
    )


def _best_seed(run: Trained, fold: int = 0) -> Path:
    return run.weights[fold][int(np.argmin(run.valid_loss[fold]))]


def _reliance(run: Trained, ready: Prepared, metric: tuple[str, Metric]) -> Reliance:
    model = load_weights(run.candidate.model, _best_seed(run), ready.task)
    return reliance(
        lambda rows: _predict(model, rows, ready),
        ready.rows.take("test", run.candidate.modalities),
        model=run.candidate.name,
        metric=metric,
    )


def _save(run: Trained, folds: Sequence[Prepared], recommendation: Recommendation, out: Path) -> None:
    ready, used = folds[0], run.candidate.modalities
    saved = SavedModel(
        model=load_weights(run.candidate.model, _best_seed(run), ready.task),
        config=run.candidate.model,
        task=ready.task,
        schema=ready.dataset.schema,
        preprocessors={name: ready.preprocessors[name] for name in used},
        summary=_model_card(run, ready, recommendation),
    )
    saved.save(out / "model")
    (out / "predictions.csv").write_text(_test_predictions(run, folds), encoding="utf-8")


def _test_predictions(run: Trained, folds: Sequence[Prepared]) -> str:
    """A table of the test rows of all folds, each predicted by the best model of its fold."""
    predicted = [
        _predict(
            load_weights(candidate.model, _best_seed(run, place), fold.task),
            fold.rows.take("test", candidate.modalities),
            fold,
        )
        for place, (candidate, fold) in enumerate(zip(run.candidates, folds, strict=True))
    ]
    first, rows = folds[0], np.concatenate([fold.rows.split["test"].numpy() for fold in folds])
    assert first.dataset.target is not None
    columns = first.task.columns(np.concatenate(predicted))
    return predictions_csv(
        [first.dataset.ids[row] for row in rows], {"target": first.dataset.target[rows]} | columns
    )


def _model_card(run: Trained, ready: Prepared, recommendation: Recommendation) -> str:
    return (
        f"# {run.candidate.name} for {ready.dataset.name}\n\n{recommendation.sentence}\n\n"
        f"- Task: {ready.task.name}\n- Modalities: {', '.join(run.candidate.modalities)}\n"
        f"- Learning rate: {run.learning_rate:g}; best of {len(run.weights[0])} seeds by validation loss"
        f"{'' if len(run.weights) == 1 else f', trained on the first of {len(run.weights)} folds'}\n"
        "- Predict: `fuseloom predict THIS_FOLDER rows.csv`\n"
    )
