"""From finished runs to the answer: scores, recommendation, reliance and the saved model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fuseloom.comparison.alone import alone_folder
from fuseloom.comparison.baseline import Baseline
from fuseloom.comparison.config import Candidate, CompareConfig
from fuseloom.comparison.cooperation import Cooperation, cooperation, treated_runs
from fuseloom.comparison.decide import decide, ranking
from fuseloom.comparison.evidence import Evidence
from fuseloom.comparison.findings import Findings
from fuseloom.comparison.gather import BestRuns, gather
from fuseloom.comparison.jobs import Rows, load_weights
from fuseloom.comparison.measure import count_parameters, latency_ms
from fuseloom.comparison.prepare import Prepared
from fuseloom.comparison.result import DataSummary, Entry, ModalitySummary, Recommendation
from fuseloom.comparison.statistics import Statistics
from fuseloom.comparison.training import Trained
from fuseloom.diagnose.reliance import Reliance, reliance
from fuseloom.models import FusionModel
from fuseloom.tasks import Metric
from fuseloom.train.files import write_whole
from fuseloom.train.fit import exact_outputs
from fuseloom.train.predictions import predictions_csv
from fuseloom.train.remedies import Remedied, fusion_inside
from fuseloom.train.saved import SavedModel
from fuseloom.types import Batch, Selection

__all__ = ["Answer", "conclude", "gather_evidence", "summarise"]

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the finished runs say."""

    entries: tuple[Entry, ...]
    recommendation: Recommendation
    reliance: tuple[Reliance, ...]
    findings: Findings


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

    Beside it stand the models of one modality alone, for `predict_alone`. Scores are over all folds; what a
    model costs, how it relies on its modalities and what is saved is that of the first fold.
    """
    ready, score = folds[0], metric[1]
    groups = treated_runs(trained)
    trained = [run for run in trained if run.candidate.role != "remedy"]
    evidence = {split: gather_evidence(trained, baselines, folds, split=split) for split in ("valid", "test")}
    scores = {split: Statistics(part, score) for split, part in evidence.items()}
    entries = [_entry(run, ready, scores) for run in trained]
    recommendation = decide(entries, scores["valid"], evidence["test"], metric, config.margin)
    runs = {run.candidate.name: run for run in trained}
    wanted = dict.fromkeys([recommendation.name, recommendation.best_fusion])
    leans = tuple(_reliance(runs[name], ready, metric) for name in wanted)
    findings = gather(
        _best_runs(runs, ready, evidence, config),
        (recommendation.name, recommendation.best_fusion, recommendation.best_unimodal),
        metric,
        lambda name: fusion_inside(_best_model(runs[name], ready)),
    )
    findings = replace(findings, cooperation=_cooperation(groups, folds, metric))
    _save(runs[recommendation.name], folds, recommendation, out, notes=config.notes())
    _save_alone(trained, ready, out, notes=config.notes())
    _save_remedied(groups, ready, findings.cooperation, out, notes=config.notes())
    everyone = [*entries, _baseline_entry(ready, baselines, scores)]
    return Answer(
        entries=tuple(ranking(everyone, score)),
        recommendation=recommendation,
        reliance=leans,
        findings=findings,
    )


def _cooperation(
    groups: Sequence[Sequence[Trained]], folds: Sequence[Prepared], metric: tuple[str, Metric]
) -> Cooperation | None:
    everyone = [run for group in groups for run in group]
    evidence = {s: gather_evidence(everyone, (), folds, split=s) for s in ("valid", "test")} if groups else {}
    return cooperation(groups, evidence, folds[0], metric, lambda run: _best_model(run, folds[0]))


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
    if len(shape) == 4:
        size = f"{shape[2]} by {shape[3]}"
        return f"pictures of {size} pixels" if kind == "image" else f"{shape[1]} features at {size} places"
    return f"{shape[1]} steps of {shape[2]} features" if len(shape) == 3 else f"{shape[1]} features"


def _target(rows: Rows, split: str) -> NDArray[Any]:
    assert rows.all.target is not None
    return rows.all.target[rows.split[split]].cpu().numpy()


def _predict(model: nn.Module, rows: Batch | Selection, ready: Prepared) -> Floats:
    return ready.task.predict(exact_outputs(model, rows))


def gather_evidence(
    trained: Sequence[Trained], baselines: Sequence[Baseline], folds: Sequence[Prepared], *, split: str
) -> Evidence:
    """Predictions of every run of every model, and of the baseline, for the rows of a split of each fold."""
    predictions = {run.candidate.name: _predict_runs(run, folds, split) for run in trained}
    if baselines:
        predictions[folds[0].task.baseline_name] = [[baseline.predictions[split]] for baseline in baselines]
    return Evidence(
        predictions=predictions,
        targets=[_target(fold.rows, split) for fold in folds],
        units=[fold.units[fold.rows.split[split].cpu().numpy()] for fold in folds],
    )


def _predict_runs(run: Trained, folds: Sequence[Prepared], split: str) -> list[list[Floats]]:
    found = []
    for candidate, weights, ready in zip(run.candidates, run.weights, folds, strict=True):
        rows = ready.rows.take(split, candidate.modalities)
        models = (load_weights(candidate.model, path, ready.task) for path in weights)
        found.append([_predict(model, rows, ready) for model in models])
    return found


def _entry(run: Trained, ready: Prepared, scores: Mapping[str, Statistics]) -> Entry:
    candidate = run.candidate
    model = load_weights(candidate.model, run.weights[0][0], ready.task)
    return Entry(
        **_identity(candidate),
        **_scores(candidate.name, scores),
        learning_rate=run.learning_rate,
        parameters=count_parameters(model),
        train_s=float(np.median(run.train_s)),
        latency_ms=latency_ms(model, ready.rows.take("train", candidate.modalities)),
        memory_mb=run.memory_mb,
    )


def _scores(name: str, scores: Mapping[str, Statistics]) -> dict[str, Any]:
    intervals = {split: part.score(name) for split, part in scores.items()}
    return intervals | {f"{split}_by_run": part.runs(name) for split, part in scores.items()}


def _identity(candidate: Candidate) -> dict[str, Any]:
    return {
        "name": candidate.name,
        "role": candidate.role,
        "modalities": candidate.modalities,
        "interaction": candidate.interaction,
    }


def _baseline_entry(
    ready: Prepared, baselines: Sequence[Baseline], scores: Mapping[str, Statistics]
) -> Entry:
    return Entry(
        **_scores(ready.task.baseline_name, scores),
        name=ready.task.baseline_name,
        role="baseline",
        modalities=tuple(ready.preprocessors),
        interaction="additive",
        learning_rate=None,
        parameters=baselines[0].parameters,
        train_s=float(np.median([baseline.train_s for baseline in baselines])),
        latency_ms=baselines[0].latency_ms,
        memory_mb=None,
    )


def _best_seed(run: Trained, fold: int = 0) -> int:
    return int(np.argmin(run.valid_loss[fold]))


def _best_weights(run: Trained, fold: int = 0) -> Path:
    return run.weights[fold][_best_seed(run, fold)]


def _best_runs(
    runs: Mapping[str, Trained], ready: Prepared, evidence: Mapping[str, Evidence], config: CompareConfig
) -> BestRuns:
    return BestRuns(
        ready=ready,
        config=config,
        trained=runs,
        predictions={
            split: {name: part.predictions[name][0][_best_seed(run)] for name, run in runs.items()}
            for split, part in evidence.items()
        },
        targets={split: part.targets[0] for split, part in evidence.items()},
    )


def _best_model(run: Trained, ready: Prepared) -> FusionModel | Remedied:
    return load_weights(run.candidate.model, _best_weights(run), ready.task)


def _reliance(run: Trained, ready: Prepared, metric: tuple[str, Metric]) -> Reliance:
    model = _best_model(run, ready)
    return reliance(
        lambda rows: _predict(model, rows, ready),
        ready.rows.take("test", run.candidate.modalities).take(slice(None)),
        model=run.candidate.name,
        metric=metric,
    )


def _save(
    run: Trained,
    folds: Sequence[Prepared],
    recommendation: Recommendation,
    out: Path,
    *,
    notes: Sequence[str],
) -> None:
    _saved(run, folds[0], recommendation.sentence, notes).save(out / "model")
    write_whole(out / "predictions.csv", _test_predictions(run, folds))


def _save_alone(trained: Sequence[Trained], ready: Prepared, out: Path, *, notes: Sequence[str]) -> None:
    for run in trained:
        if run.candidate.role == "unimodal":
            (name,) = run.candidate.modalities
            sentence = f"Of {name} alone: what fusing is compared with."
            _saved(run, ready, sentence, notes).save(alone_folder(out, name))


def _save_remedied(
    groups: Sequence[Sequence[Trained]],
    ready: Prepared,
    found: Cooperation | None,
    out: Path,
    *,
    notes: Sequence[str],
) -> None:
    """The models of the remedies that help."""
    helping = {one.name for one in found.treatments if one.verdict == "helps"} if found else set()
    for run in (run for group in groups for run in group if run.candidate.name in helping):
        name = run.candidate.name
        _saved(run, ready, f"{name}: it helps.", notes).save(out / "remedied" / name.replace(" ", "-"))


def _saved(run: Trained, ready: Prepared, sentence: str, notes: Sequence[str]) -> SavedModel:
    return SavedModel(
        model=_best_model(run, ready),
        config=run.candidate.model,
        task=ready.task,
        schema=ready.dataset.schema,
        preprocessors={name: ready.preprocessors[name] for name in run.candidate.modalities},
        summary=_model_card(run, ready, sentence, notes),
    )


def _test_predictions(run: Trained, folds: Sequence[Prepared]) -> str:
    """A table of the test rows of all folds, each by the best model of the first fold that tests it."""
    tested, predicted = np.empty(0, dtype=np.intp), []
    for place, (candidate, fold) in enumerate(zip(run.candidates, folds, strict=True)):
        rows = fold.rows.split["test"].cpu().numpy()
        fresh = ~np.isin(rows, tested)
        if fresh.any():
            model = load_weights(candidate.model, _best_weights(run, place), fold.task)
            predicted.append(_predict(model, fold.rows.take("test", candidate.modalities), fold)[fresh])
            tested = np.concatenate([tested, rows[fresh]])
    first = folds[0]
    assert first.dataset.target is not None
    columns = first.task.target_columns(first.dataset.target[tested]) | first.task.columns(
        np.concatenate(predicted)
    )
    return predictions_csv([first.dataset.ids[row] for row in tested.tolist()], columns)


def _model_card(run: Trained, ready: Prepared, sentence: str, notes: Sequence[str]) -> str:
    trained = "".join(f"- {note[0].upper()}{note[1:]}\n" for note in notes)
    return (
        f"# {run.candidate.name} for {ready.dataset.name}\n\n{sentence}\n\n"
        f"- Task: {ready.task.name}\n- Modalities: {', '.join(run.candidate.modalities)}\n"
        f"- Learning rate: {run.learning_rate:g}; best of {len(run.weights[0])} seeds by validation loss"
        f"{'' if len(run.weights) == 1 else f', trained on the first of {len(run.weights)} folds'}\n{trained}"
        "- Predict: `fuseloom predict THIS_FOLDER rows.csv`\n"
    )
