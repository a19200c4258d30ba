"""Every model under equal terms: the same learning rates tried, the same seeds, the same stopping rule."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from fuseloom.comparison.config import Candidate, CompareConfig
from fuseloom.comparison.jobs import Job, fold_key
from fuseloom.comparison.pool import Runner
from fuseloom.train.fit import FitConfig
from fuseloom.train.journal import RunFolder

__all__ = ["Progress", "Trained", "train_all"]

Progress = Callable[[str], None]
"""Called with a line for a person."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A candidate's finished runs: a tuple over seeds for each fold."""

    candidates: tuple[Candidate, ...]
    """The candidate in each fold; what a preprocessor learnt may give its encoders other sizes."""
    learning_rate: float
    weights: tuple[tuple[Path, ...], ...]
    valid_loss: tuple[tuple[float, ...], ...]
    train_s: tuple[float, ...]
    """Of all runs."""
    memory_mb: float
    """Of one training step of the first run."""

    @property
    def candidate(self) -> Candidate:
        """That of the first fold."""
        return self.candidates[0]


def train_all(
    folds: Sequence[Sequence[Candidate]],
    config: CompareConfig,
    folder: RunFolder,
    run: Runner,
    progress: Progress,
) -> list[Trained]:
    """Try each learning rate with seed 0 in every fold for a few epochs, then train all seeds with the best.

    The best has the lowest validation loss, mean over folds; the run that tried it is the beginning of that
    of seed 0. What the run folder's journal holds is not trained again.

    Args:
        folds: The candidates of each fold, the same in the same order.
        config: Gives learning rates and seeds.
        folder: Journal and weights.
        run: Runs jobs.
        progress: Called with a line for each finished job.
    """
    everyone = list(zip(*folds, strict=True))
    rates = config.learning_rates if len(config.learning_rates) > 1 else ()
    clock = _Clock(len(folds) * len(everyone) * (len(rates) + config.seeds), folder, progress)
    tried = {
        (one[0].name, lr): [
            _search(candidate, lr, config, folder, fold) for fold, candidate in enumerate(one)
        ]
        for one in everyone
        for lr in rates
    }
    _run_missing([job for jobs in tried.values() for job in jobs], folder, run, clock)
    trained = []
    for one in everyone:
        losses = [np.mean([_loss(folder, job) for job in tried[one[0].name, lr]]) for lr in rates]
        lr = rates[int(np.argmin(losses))] if rates else config.learning_rates[0]
        trained.append((one, lr, _final_jobs(one, lr, config, folder)))
    _run_missing([job for *_, jobs in trained for fold in jobs for job in fold], folder, run, clock)
    for job in chain.from_iterable(tried.values()):
        _state_file(job).unlink(missing_ok=True)
    return [_trained(one, lr, jobs, folder=folder) for one, lr, jobs in trained]


def _search(candidate: Candidate, lr: float, config: CompareConfig, folder: RunFolder, fold: int) -> Job:
    job = _job(f"search {candidate.name}", candidate, config.search(lr), folder, fold)
    return replace(job, state_file=str(_state_file(job)))


def _state_file(search: Job) -> Path:
    return Path(search.weights).with_suffix(".state")


def _final_jobs(
    one: Sequence[Candidate], lr: float, config: CompareConfig, folder: RunFolder
) -> list[list[Job]]:
    """For each fold a job per seed; that of seed 0 goes on from the search, where there was one."""
    jobs = [
        [
            _job(f"{candidate.role} {candidate.name}", candidate, config.fit(lr, seed), folder, fold)
            for seed in range(config.seeds)
        ]
        for fold, candidate in enumerate(one)
    ]
    for fold, candidate in enumerate(one):
        search = _search(candidate, lr, config, folder, fold)
        jobs[fold][0] = replace(jobs[fold][0], state_file=search.state_file)
    return jobs


def _job(what: str, candidate: Candidate, fit: FitConfig, folder: RunFolder, fold: int) -> Job:
    key = fold_key(f"{what}, lr {fit.lr:g}, seed {fit.seed}", fold)
    first = fold == 0 and fit.seed == 0
    return Job(
        key=key, model=candidate.model, fit=fit, weights=str(folder.file(key)), fold=fold, measured=first
    )


def _loss(folder: RunFolder, job: Job) -> float:
    loss = folder.finished[job.key]["valid_loss"]
    return float("inf") if loss is None else float(loss)


def _trained(
    one: Sequence[Candidate], lr: float, jobs: Sequence[Sequence[Job]], *, folder: RunFolder
) -> Trained:
    return Trained(
        candidates=tuple(one),
        learning_rate=lr,
        weights=tuple(tuple(Path(job.weights) for job in fold) for fold in jobs),
        valid_loss=tuple(tuple(_loss(folder, job) for job in fold) for fold in jobs),
        train_s=tuple(folder.finished[job.key]["train_s"] for fold in jobs for job in fold),
        memory_mb=folder.finished[jobs[0][0].key]["memory_mb"],
    )


def _run_missing(jobs: Sequence[Job], folder: RunFolder, run: Runner, clock: "_Clock") -> None:
    def finish(job: Job, result: dict[str, Any]) -> None:
        folder.record(job.key, result)
        loss = "none (diverged)" if result["valid_loss"] is None else f"{result['valid_loss']:.4f}"
        clock.tick(f"{job.key}: validation loss {loss} after {result['epochs']} epochs")

    missing = [job for job in jobs if job.key not in folder.finished]
    run(sorted(missing, key=lambda job: job.fold), finish)  # a worker holds one fold's rows at a time


class _Clock:
    """Counts finished runs and says how long the rest will take."""

    def __init__(self, total: int, folder: RunFolder, progress: Progress) -> None:
        self.total, self.folder, self.progress = total, folder, progress
        self.start, self.done = time.perf_counter(), 0

    def tick(self, what: str) -> None:
        self.done += 1
        finished = sum(not key.startswith("baseline") for key in self.folder.finished)
        left = (time.perf_counter() - self.start) / self.done * (self.total - finished)
        self.progress(f"[{finished}/{self.total}] {what}; about {_duration(left)} left")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
