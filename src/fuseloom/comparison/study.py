"""What is compared on what, and its training: the part that every experiment on a data set shares."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuseloom.comparison.baseline import Baseline, run_baseline
from fuseloom.comparison.cluster import Cluster, cluster_workers
from fuseloom.comparison.config import Candidate, CompareConfig
from fuseloom.comparison.fitting import taking_part
from fuseloom.comparison.pool import Runner, workers
from fuseloom.comparison.prepare import Prepared, fingerprint, prepare
from fuseloom.comparison.training import Progress, Trained, train_all
from fuseloom.data import Dataset
from fuseloom.data.preprocessing import Store
from fuseloom.tasks import Metric
from fuseloom.train.fit import one_thread
from fuseloom.train.journal import RunFolder

__all__ = ["Study", "fit_baselines", "plan_study", "train_study"]


@dataclass(frozen=True, kw_only=True)
class Study:
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


def plan_study(
    dataset: Dataset, config: CompareConfig, room: Path, *, command: str, progress: Progress
) -> Study:
    """Prepare the rows of every fold and find the models that can take them.

    Args:
        dataset: Rows with at least two modalities and a target.
        config: Settings.
        room: Folder for what is needed only while it runs.
        command: What repeats it, for the record.
        progress: Called with a line for a person.

    Raises:
        DataError: the data cannot be compared on.
        OptionError: a fusion that was named cannot take them.
    """
    start = time.perf_counter()
    folds = prepare(dataset, config, Store(folder=room / "inputs"))
    metric = folds[0].task.metric(config.metric)
    everyone, notes = taking_part(folds, config)
    aside = [f"set aside {row.where}: {row.reason}" for row in dataset.set_aside[:10]]
    for line in (*folds[0].notes, *notes, *aside):
        progress(line)
    return Study(
        folds=folds,
        everyone=everyone,
        notes=notes,
        metric=metric,
        config=config,
        room=room,
        command=command,
        start=start,
    )


def train_study(
    study: Study, folder: RunFolder, num_workers: int | Cluster, progress: Progress
) -> tuple[list[Trained], list[Baseline]]:
    """Train what the folder does not hold yet: all models, and the baseline of each fold."""
    with _runner(study, num_workers) as run:
        baselines = fit_baselines(study, folder)  # while the workers start
        return train_all(study.everyone, study.config, folder, run, progress), baselines


def _runner(study: Study, num_workers: int | Cluster) -> AbstractContextManager[Runner]:
    rows, task = [fold.rows for fold in study.folds], study.folds[0].task
    if isinstance(num_workers, Cluster):
        return cluster_workers(num_workers, rows, task, study.room)
    return workers(num_workers, rows, task, study.room)


def fit_baselines(study: Study, folder: RunFolder) -> list[Baseline]:
    """The baseline of each fold, read where the folder holds it."""
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
