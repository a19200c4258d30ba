"""The protocol: split, encode, train under equal terms, choose on validation data, score test data once."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fuseloom.comparison.baseline import Baseline
from fuseloom.comparison.cluster import Cluster
from fuseloom.comparison.conclude import conclude, summarise
from fuseloom.comparison.config import CompareConfig
from fuseloom.comparison.result import FORMAT_VERSION, Comparison
from fuseloom.comparison.study import Study, fit_baselines, plan_study, train_study
from fuseloom.comparison.training import (
    Progress,
    Trained,
    count_finished,
    count_runs,
    trained_so_far,
)
from fuseloom.data import Dataset
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
        study = plan_study(dataset, config, room, command=command, progress=progress)
        folder = RunFolder.open(out, study.request(), overwrite=overwrite)
        try:
            trained, baselines = train_study(study, folder, num_workers, progress)
            progress("scoring the test data, once")
            return _conclude(study, folder, trained, baselines)
        except KeyboardInterrupt:
            raise _stopped(study, folder, progress, again=_AGAIN[overwrite]) from None


def _conclude(
    study: Study, folder: RunFolder, trained: Sequence[Trained], baselines: Sequence[Baseline]
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


def _stopped(study: Study, folder: RunFolder, progress: Progress, *, again: str) -> Stopped:
    """How far it came, and what the models say of which every run is finished."""
    done, total = count_finished(folder), count_runs(study.everyone, study.config)
    words = f"Stopped after {done} of {total} runs; {again} to go on."
    trained = trained_so_far(study.everyone, study.config, folder)
    if done == total or not {run.candidate.role for run in trained} >= {"unimodal", "fusion"}:
        return Stopped(words, None)
    progress(f"stopping: a report of the {len(trained)} models that are finished; Ctrl-C skips it")
    found = _conclude(study, folder, trained, fit_baselines(study, folder))
    data = replace(found.data, notes=(*found.data.notes, words))
    told = replace(found.recommendation, sentence=f"{words} So far: {found.recommendation.sentence}")
    return Stopped(words, replace(found, data=data, recommendation=told))
