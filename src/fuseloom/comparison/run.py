"""The protocol: split, encode, train under equal terms, choose on validation data, score test data once."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fuseloom.comparison.baseline import Baseline, run_baseline
from fuseloom.comparison.cluster import Cluster, cluster_workers
from fuseloom.comparison.conclude import conclude, summarise
from fuseloom.comparison.config import Candidate, CompareConfig
from fuseloom.comparison.fitting import taking_part
from fuseloom.comparison.pool import Runner, workers
from fuseloom.comparison.prepare import Prepared, fingerprint, prepare
from fuseloom.comparison.result import FORMAT_VERSION, Comparison
from fuseloom.comparison.training import (
    Progress,
    Trained,
    count_finished,
    count_runs,
    train_all,
    trained_so_far,
)
from fuseloom.data import Dataset
from fuseloom.data.preprocessing import Store
from fuseloom.tasks import Metric
from fuseloom.train.fit import one_thread
from fuseloom.train.journal import RunFolder, environment, refuse_foreign, scratch
from fuseloom.train.lock import holding

__all__ = ["Stopped", "run_comparison"]


_AGAIN = {False: "run the same command", True: "run the same command without overwriting"}


class Stopped(KeyboardInterrupt):
    """A comparison that was interrupted; its message says how far it came."""

    def __init__(self, message: str, partial: Comparison | None) -> None:
        super().__init__(message)
        self.partial = partial
        """Of the models that have all of their runs; None where that is no modality alone, or no fusion."""


def run_comparison(
    dataset: Dataset,
    out: Path,
    config: CompareConfig,
    *,
    num_workers: int | Cluster = 1,
    command: str = "",
    overwrite: bool = False,
    progress: Progress = lambda line: None,
) -> Comparison:
    """Compare each modality alone, a classical baseline and the fusions, and save the recommended model.

    Args:
        dataset: Rows with at least two modalities and a target.
        out: Run folder; one that holds an unfinished run of the same settings and data is continued.
        config: Settings.
        num_workers: Processes to train in, or a cluster; the numbers do not depend on it.
        command: What repeats the comparison, for the record.
        overwrite: Remove the run that ``out`` holds first.
        progress: Called with a line for a person, now and then.

    Raises:
        DataError: the data cannot be compared on.
        OptionError: a fusion that was named cannot take them.
        RunError: ``out`` holds something else or is in use, or a training run failed.
        Stopped: Ctrl-C; what is finished is kept.
    """
    refuse_foreign(out)
    with holding(out), scratch(out) as room:
        study = _plan(dataset, config, room, command=command, progress=progress)
        folder = RunFolder.open(out, study.request(), overwrite=overwrite)
        try:
            trained, baselines = _train(study, folder, num_workers, progress)
            progress("scoring the test data, once")
            return _conclude(study, folder, trained, baselines)
        except KeyboardInterrupt:
            raise _stopped(study, folder, progress, again=_AGAIN[overwrite]) from None


@dataclass(frozen=True, kw_only=True)
class _Study:
    """What is compared on what, before anything is trained."""

    folds: Sequence[Prepared]
    everyone: Sequence[Sequence[Candidate]]
    notes: Sequence[str]
    metric: tuple[str, Metric]
    config: CompareConfig
    room: Path
    """For what is needed only while it runs."""
    command: str
    start: float
    """By the clock that has no date."""

    def request(self) -> dict[str, Any]:
        """What a run folder is held to."""
        state, data = self.config.state(), fingerprint(self.folds)
        return {"config": state, "metric": self.metric[0], "data": data}


def _plan(dataset: Dataset, config: CompareConfig, room: Path, *, command: str, progress: Progress) -> _Study:
    start = time.perf_counter()
    folds = prepare(dataset, config, Store(folder=room / "inputs"))
    metric = folds[0].task.metric(config.metric)
    everyone, notes = taking_part(folds, config)
    aside = [f"set aside {row.where}: {row.reason}" for row in dataset.set_aside[:10]]
    for line in (*folds[0].notes, *notes, *aside):
        progress(line)
    return _Study(
        folds=folds,
        everyone=everyone,
        notes=notes,
        metric=metric,
        config=config,
        room=room,
        command=command,
        start=start,
    )


def _train(
    study: _Study, folder: RunFolder, num_workers: int | Cluster, progress: Progress
) -> tuple[list[Trained], list[Baseline]]:
    with _runner(study, num_workers) as run:
        baselines = _baselines(study, folder)  # while the workers start
        return train_all(study.everyone, study.config, folder, run, progress), baselines


def _runner(study: _Study, num_workers: int | Cluster) -> AbstractContextManager[Runner]:
    rows, task = [fold.rows for fold in study.folds], study.folds[0].task
    if isinstance(num_workers, Cluster):
        return cluster_workers(num_workers, rows, task, study.room)
    return workers(num_workers, rows, task, study.room)


def _baselines(study: _Study, folder: RunFolder) -> list[Baseline]:
    with one_thread():
        return [
            run_baseline(
                fold.rows,
                fold.task,
                fold.encoders,
                folder,
                fold=place,
                class_weight=study.config.class_weight,
            )
            for place, fold in enumerate(study.folds)
        ]


def _conclude(
    study: _Study, folder: RunFolder, trained: Sequence[Trained], baselines: Sequence[Baseline]
) -> Comparison:
    with one_thread():
        answer = conclude(study.folds, trained, baselines, study.metric, config=study.config, out=folder.path)
    return Comparison(
        format_version=FORMAT_VERSION,
        data=summarise(study.folds, study.notes),
        task=study.folds[0].task.name,
        metric=study.metric[0],
        higher_is_better=study.metric[1].higher_is_better,
        seeds=study.config.seeds,
        entries=answer.entries,
        recommendation=answer.recommendation,
        reliance=answer.reliance,
        findings=answer.findings,
        command=study.command,
        config=study.config.state(),
        environment=environment(),
        total_s=time.perf_counter() - study.start,
    )


def _stopped(study: _Study, folder: RunFolder, progress: Progress, *, again: str) -> Stopped:
    """How far it came, and what the models say of which every run is finished."""
    done, total = count_finished(folder), count_runs(study.everyone, study.config)
    words = f"Stopped after {done} of {total} runs; {again} to go on."
    trained = trained_so_far(study.everyone, study.config, folder)
    if done == total or {run.candidate.role for run in trained} < {"unimodal", "fusion"}:
        return Stopped(words, None)
    progress(f"stopping: a report of the {len(trained)} models that are finished; Ctrl-C skips it")
    found = _conclude(study, folder, trained, _baselines(study, folder))
    data = replace(found.data, notes=(*found.data.notes, words))
    told = replace(found.recommendation, sentence=f"{words} So far: {found.recommendation.sentence}")
    return Stopped(words, replace(found, data=data, recommendation=told))
