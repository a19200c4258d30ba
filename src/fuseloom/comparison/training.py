"""Every model under equal terms: the same learning rates tried, the same seeds, the same stopping rule."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuseloom.comparison.config import Candidate, CompareConfig
from fuseloom.comparison.jobs import Job
from fuseloom.comparison.pool import Runner
from fuseloom.train.journal import RunFolder

__all__ = ["Progress", "Trained", "train_all"]

Progress = Callable[[str], None]
"""Called with a line for a person."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A candidate's finished runs, one per seed."""

    candidate: Candidate
    learning_rate: float
    weights: tuple[Path, ...]
    valid_loss: tuple[float, ...]
    train_s: tuple[float, ...]


def train_all(
    everyone: Sequence[Candidate],
    config: CompareConfig,
    folder: RunFolder,
    run: Runner,
    progress: Progress,
) -> list[Trained]:
    """Try each learning rate with seed 0, then train the other seeds with the best one.

    What the run folder's journal holds is not trained again.
    """
    rates, seeds = config.learning_rates, range(config.seeds)
    clock = _Clock(len(everyone) * (len(rates) + len(seeds) - 1), folder, progress)
    search = {(c.name, lr): _job(c, lr, 0, config, folder) for c in everyone for lr in rates}
    _run_missing(list(search.values()), folder, run, clock)
    best = {c.name: min(rates, key=lambda lr: _loss(folder, search[c.name, lr])) for c in everyone}
    final = {c.name: [_job(c, best[c.name], seed, config, folder) for seed in seeds] for c in everyone}
    _run_missing([job for jobs in final.values() for job in jobs], folder, run, clock)
    return [_trained(c, best[c.name], final[c.name], folder) for c in everyone]


def _job(candidate: Candidate, lr: float, seed: int, config: CompareConfig, folder: RunFolder) -> Job:
    key = f"{candidate.role} {candidate.name}, lr {lr:g}, seed {seed}"
    return Job(key=key, model=candidate.model, fit=config.fit(lr, seed), weights=str(folder.file(key)))


def _loss(folder: RunFolder, job: Job) -> float:
    loss = folder.finished[job.key]["valid_loss"]
    return float("inf") if loss is None else float(loss)


def _trained(candidate: Candidate, lr: float, jobs: Sequence[Job], folder: RunFolder) -> Trained:
    return Trained(
        candidate=candidate,
        learning_rate=lr,
        weights=tuple(Path(job.weights) for job in jobs),
        valid_loss=tuple(_loss(folder, job) for job in jobs),
        train_s=tuple(folder.finished[job.key]["train_s"] for job in jobs),
    )


def _run_missing(jobs: Sequence[Job], folder: RunFolder, run: Runner, clock: "_Clock") -> None:
    def finish(job: Job, result: dict[str, Any]) -> None:
        folder.record(job.key, result)
        loss = "none (diverged)" if result["valid_loss"] is None else f"{result['valid_loss']:.4f}"
        clock.tick(f"{job.key}: validation loss {loss} after {result['epochs']} epochs")

    run([job for job in jobs if job.key not in folder.finished], finish)


class _Clock:
    """Counts finished runs and says how long the rest will take."""

    def __init__(self, total: int, folder: RunFolder, progress: Progress) -> None:
        self.total, self.folder, self.progress = total, folder, progress
        self.start, self.done = time.perf_counter(), 0

    def tick(self, what: str) -> None:
        self.done += 1
        finished = sum(key != "baseline" for key in self.folder.finished)
        left = (time.perf_counter() - self.start) / self.done * (self.total - finished)
        self.progress(f"[{finished}/{self.total}] {what}; about {_duration(left)} left")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
