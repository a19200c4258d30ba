"""From finished runs to the answer: scores, recommendation, reliance and the saved model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.comparison.baseline import Baseline
from fuseloom.comparison.config import Candidate, CompareConfig
from fuseloom.comparison.decide import Evidence, decide, ranking
from fuseloom.comparison.jobs import Rows, load_weights
from fuseloom.comparison.measure import count_parameters, latency_ms, training_memory_mb
from fuseloom.comparison.prepare import Prepared
from fuseloom.comparison.result import DataSummary, Entry, ModalitySummary, Recommendation
from fuseloom.comparison.statistics import over_seeds
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
    ready: Prepared,
    trained: Sequence[Trained],
    baseline: Baseline,
    metric: tuple[str, Metric],
    *,
    config: CompareConfig,
    out: Path,
) -> Answer:
    """Score every model, recommend one, and save it with its test predictions under ``out``."""
    rows, score = ready.rows, metric[1]
    predictions = {run.candidate.name: _predict_all(run, ready) for run in trained}
    evidence = {
        split: Evidence(
            predictions={name: parts[split] for name, parts in predictions.items()},
            target=_target(rows, split),
        )
        for split in ("valid", "test")
    }
    entries = [_entry(run, ready, evidence, score, config) for run in trained]
    recommendation = decide(entries, evidence["valid"], evidence["test"], metric, config.margin)
    runs = {run.candidate.name: run for run in trained}
    wanted = dict.fromkeys([recommendation.name, recommendation.best_fusion])
    leans = tuple(_reliance(runs[name], ready, metric) for name in wanted)
    _save(runs[recommendation.name], ready, recommendation, out)
    everyone = [*entries, _baseline_entry(ready, baseline, score)]
    return Answer(entries=tuple(ranking(everyone, score)), recommendation=recommendation, reliance=leans)


def summarise(ready: Prepared) -> DataSummary:
    """What was compared on, in words."""
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
        set_aside=tuple((row.where, row.reason) for row in ready.dataset.set_aside),
        notes=ready.notes,
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


def _predict_all(run: Trained, ready: Prepared) -> dict[str, list[Floats]]:
    models = [load_weights(run.candidate.model, path, ready.task) for path in run.weights]
    return {
        split: [_predict(model, ready.rows.take(split, run.candidate.modalities), ready) for model in models]
        for split in ("valid", "test")
    }


def _entry(
    run: Trained, ready: Prepared, evidence: Mapping[str, Evidence], metric: Metric, config: CompareConfig
) -> Entry:
    candidate = run.candidate
    scores = {
        split: tuple(metric.function(p, part.target) for p in part.predictions[candidate.name])
        for split, part in evidence.items()
    }
    model = load_weights(candidate.model, run.weights[0], ready.task)
    train = ready.rows.take("train", candidate.modalities)
    step = train.take(slice(0, config.fit(run.learning_rate, 0).rows_per_step(len(train))))
    return Entry(
        **_identity(candidate),
        learning_rate=run.learning_rate,
        valid=over_seeds(scores["valid"]),
        test=over_seeds(scores["test"]),
        valid_by_seed=scores["valid"],
        test_by_seed=scores["test"],
        parameters=count_parameters(model),
        train_s=float(np.median(run.train_s)),
        latency_ms=latency_ms(model, train),
        memory_mb=training_memory_mb(model, step, ready.task),
    )


def _identity(candidate: Candidate) -> dict[str, Any]:
    return {
        "name": candidate.name,
        "role": candidate.role,
        "modalities": candidate.modalities,
        "interaction": candidate.interaction,
    }


def _baseline_entry(ready: Prepared, baseline: Baseline, metric: Metric) -> Entry:
    valid, test = (
        metric.function(baseline.predictions[split], _target(ready.rows, split))
        for split in ("valid", "test")
    )
    return Entry(
        name=ready.task.baseline_name,
        role="baseline",
        modalities=tuple(ready.preprocessors),
        interaction="additive",
        learning_rate=None,
        valid=over_seeds([valid]),
        test=over_seeds([test]),
        valid_by_seed=(valid,),
        test_by_seed=(test,),
        parameters=baseline.parameters,
        train_s=baseline.train_s,
        latency_ms=baseline.latency_ms,
        memory_mb=None,
    )


def _best_seed(run: Trained) -> Path:
    return run.weights[int(np.argmin(run.valid_loss))]


def _reliance(run: Trained, ready: Prepared, metric: tuple[str, Metric]) -> Reliance:
    model = load_weights(run.candidate.model, _best_seed(run), ready.task)
    return reliance(
        lambda rows: _predict(model, rows, ready),
        ready.rows.take("test", run.candidate.modalities),
        model=run.candidate.name,
        metric=metric,
    )


def _save(run: Trained, ready: Prepared, recommendation: Recommendation, out: Path) -> None:
    used = run.candidate.modalities
    saved = SavedModel(
        model=load_weights(run.candidate.model, _best_seed(run), ready.task),
        config=run.candidate.model,
        task=ready.task,
        schema=ready.dataset.schema,
        preprocessors={name: ready.preprocessors[name] for name in used},
        summary=_model_card(run, ready, recommendation),
    )
    saved.save(out / "model")
    test = ready.rows.split["test"].numpy()
    columns = ready.task.columns(_predict(saved.model, ready.rows.take("test", used), ready))
    assert ready.dataset.target is not None
    target = {"target": ready.dataset.target[test]}
    text = predictions_csv([ready.dataset.ids[row] for row in test], target | columns)
    (out / "predictions.csv").write_text(text, encoding="utf-8")


def _model_card(run: Trained, ready: Prepared, recommendation: Recommendation) -> str:
    return (
        f"# {run.candidate.name} for {ready.dataset.name}\n\n{recommendation.sentence}\n\n"
        f"- Task: {ready.task.name}\n- Modalities: {', '.join(run.candidate.modalities)}\n"
        f"- Learning rate: {run.learning_rate:g}; best of {len(run.weights)} seeds by validation loss\n"
        "- Predict: `fuseloom predict THIS_FOLDER rows.csv`\n"
    )
