"""Every model under equal terms: the same learning rates tried, the same seeds, the same stopping rule."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fuseloom.comparison.config import Candidate, CompareConfig
from fuseloom.comparison.jobs import Job, fold_key
from fuseloom.comparison.pool import Runner
from fuseloom.train.fit import FitConfig
from fuseloom.train.journal import RunFolder
from fuseloom.train.remedies import needs_teachers

__all__ = ["Progress", "Trained", "count_finished", "count_runs", "train_all", "trained_so_far"]

Progress = Callable[[str], None]
"""Called with a line for a person."""
Starts = Mapping[tuple[int, int], Mapping[str, str]]
"""Fold and seed -> modality -> weights of the model of it alone."""
Curve = tuple[tuple[float, float], ...]
"""Training and validation loss of each epoch."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A candidate's finished runs: a tuple over seeds for each fold."""

    candidates: tuple[Candidate, ...]
    """The candidate in each fold; what a preprocessor learnt may give its encoders other sizes."""
    learning_rate: float
    weights: tuple[tuple[Path, ...], ...]
    valid_loss: tuple[tuple[float, ...], ...]
    curves: tuple[tuple[Curve, ...], ...]
    imbalance: tuple[tuple[tuple[float, ...], ...], ...]
    """Of watched candidates the imbalance rate after each epoch; of others nothing."""
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
    of seed 0. Fusions that start from the encoders of each modality alone wait for the runs of these, and
    start with those of the same fold and seed; so do remedies that learn from them. What the run folder's
    journal holds is not trained again.

    Args:
        folds: The candidates of each fold, the same in the same order.
        config: Gives learning rates and seeds.
        folder: Journal and weights.
        run: Runs jobs.
        progress: Called with a line for each finished job.
    """
    clock = _Clock(count_runs(folds, config), folder, progress)
    everyone = list(zip(*folds, strict=True))
    first = [one for one in everyone if not _waits(one[0])]
    _train_group(first, config, folder, run=run, clock=clock, starts={})
    if later := [one for one in everyone if _waits(one[0])]:
        starts = _starts(trained_so_far(folds, config, folder))
        _train_group(later, config, folder, run=run, clock=clock, starts=starts)
    return trained_so_far(folds, config, folder)


def _waits(candidate: Candidate) -> bool:
    return candidate.encoders != "joint" or needs_teachers(candidate.model)


def _starts(trained: Sequence[Trained]) -> Starts:
    """Weights of each modality alone, by fold and seed."""
    alone = [run for run in trained if run.candidate.role == "unimodal"]
    runs = [(fold, seed) for fold, weights in enumerate(alone[0].weights) for seed in range(len(weights))]
    return {
        (fold, seed): {run.candidate.name: str(run.weights[fold][seed]) for run in alone}
        for fold, seed in runs
    }


def _train_group(
    group: Sequence[Sequence[Candidate]],
    config: CompareConfig,
    folder: RunFolder,
    *,
    run: Runner,
    clock: "_Clock",
    starts: Starts,
) -> None:
    """Search and final runs of candidates that do not wait for one another."""
    searches = [_searches(one, config, folder) for one in group]
    tried = [job for found in searches for jobs in found.values() for job in jobs]
    _run_missing(_started(tried, starts, config), folder, run, clock)
    rates = [_best_rate(found, config, folder) for found in searches]
    final = [_final_jobs(one, lr, config, folder) for one, lr in zip(group, rates, strict=True)]
    chosen = [job for jobs in final for fold in jobs for job in fold]
    _run_missing(_started(chosen, starts, config), folder, run, clock)
    for job in tried:
        _state_file(job).unlink(missing_ok=True)


def _started(jobs: Sequence[Job], starts: Starts, config: CompareConfig) -> list[Job]:
    """The jobs with the finished encoders that they start with, or learn from."""
    alone = [starts.get((job.fold, job.fit.seed), {}) for job in jobs]
    return [
        replace(
            job,
            start={} if config.encoders == "joint" else known,
            teachers=known if needs_teachers(job.model) else {},
        )
        for job, known in zip(jobs, alone, strict=True)
    ]


def trained_so_far(
    folds: Sequence[Sequence[Candidate]], config: CompareConfig, folder: RunFolder
) -> list[Trained]:
    """The candidates of which every run is in the journal: of a comparison that ended, all."""
    found = []
    for one in zip(*folds, strict=True):
        searches = _searches(one, config, folder)
        if not _all_finished(searches.values(), folder):
            continue
        lr = _best_rate(searches, config, folder)
        jobs = _final_jobs(one, lr, config, folder)
        if _all_finished(jobs, folder):
            found.append(_trained(one, lr, jobs, folder=folder))
    return found


def count_runs(folds: Sequence[Sequence[Candidate]], config: CompareConfig) -> int:
    """How many training runs a comparison takes."""
    return sum(map(len, folds)) * (len(_tried_rates(config)) + config.seeds)


def count_finished(folder: RunFolder) -> int:
    """How many of them are in the journal."""
    return sum(not key.startswith("baseline") for key in folder.finished)


def _all_finished(jobs: Iterable[Sequence[Job]], folder: RunFolder) -> bool:
    return all(job.key in folder.finished for some in jobs for job in some)


def _tried_rates(config: CompareConfig) -> tuple[float, ...]:
    rates = tuple(dict.fromkeys(config.learning_rates))
    return rates if len(rates) > 1 else ()


def _searches(one: Sequence[Candidate], config: CompareConfig, folder: RunFolder) -> dict[float, list[Job]]:
    """For each learning rate to try a job per fold."""
    return {
        lr: [_search(candidate, lr, config, folder, fold) for fold, candidate in enumerate(one)]
        for lr in _tried_rates(config)
    }


def _best_rate(searches: Mapping[float, Sequence[Job]], config: CompareConfig, folder: RunFolder) -> float:
    losses = {lr: np.mean([_loss(folder, job) for job in jobs]) for lr, jobs in searches.items()}
    return min(losses, key=losses.__getitem__) if losses else config.learning_rates[0]


def _search(candidate: Candidate, lr: float, config: CompareConfig, folder: RunFolder, fold: int) -> Job:
    job = _job("search", candidate, config.search(lr), folder, fold)
    return replace(job, state_file=str(_state_file(job)))


def _state_file(search: Job) -> Path:
    return Path(search.weights).with_suffix(".state")


def _final_jobs(
    one: Sequence[Candidate], lr: float, config: CompareConfig, folder: RunFolder
) -> list[list[Job]]:
    """For each fold a job per seed.

    That of seed 0 goes on from the search, where there was one and it is not watched from its first epoch on.
    """
    jobs = [
        [_job(candidate.role, candidate, config.fit(lr, seed), folder, fold) for seed in range(config.seeds)]
        for fold, candidate in enumerate(one)
    ]
    for fold, candidate in enumerate(one):
        if candidate.watched:
            continue
        search = _search(candidate, lr, config, folder, fold)
        jobs[fold][0] = replace(jobs[fold][0], state_file=search.state_file)
    return jobs


def _job(what: str, candidate: Candidate, fit: FitConfig, folder: RunFolder, fold: int) -> Job:
    how = "" if candidate.encoders == "joint" else f" ({candidate.encoders})"
    key = fold_key(f"{what} {candidate.name}{how}, lr {fit.lr:g}, seed {fit.seed}", fold)
    first = fold == 0 and fit.seed == 0
    return Job(
        key=key,
        model=candidate.model,
        fit=fit,
        weights=str(folder.file(key)),
        fold=fold,
        measured=first,
        watched=candidate.watched,
    )


def _loss(folder: RunFolder, job: Job) -> float:
    loss = folder.finished[job.key]["valid_loss"]
    return float("inf") if loss is None else float(loss)


def _curve(folder: RunFolder, job: Job) -> Curve:
    """That of the journal, in which a loss that was not finite is null."""
    known = folder.finished[job.key]["curve"]
    train, valid = ([float("nan") if pair[k] is None else float(pair[k]) for pair in known] for k in (0, 1))
    return tuple(zip(train, valid, strict=True))


def _imbalance(folder: RunFolder, job: Job) -> tuple[float, ...]:
    rates = folder.finished[job.key]["imbalance"]
    return tuple(float("nan") if rate is None else float(rate) for rate in rates)


def _trained(
    one: Sequence[Candidate], lr: float, jobs: Sequence[Sequence[Job]], *, folder: RunFolder
) -> Trained:
    return Trained(
        candidates=tuple(one),
        learning_rate=lr,
        weights=tuple(tuple(Path(job.weights) for job in fold) for fold in jobs),
        valid_loss=tuple(tuple(_loss(folder, job) for job in fold) for fold in jobs),
        curves=tuple(tuple(_curve(folder, job) for job in fold) for fold in jobs),
        imbalance=tuple(tuple(_imbalance(folder, job) for job in fold) for fold in jobs),
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
        if before := count_finished(folder):
            progress(f"going on: {before} of {total} runs are finished")

    def tick(self, what: str) -> None:
        self.done += 1
        finished = count_finished(self.folder)
        left = (time.perf_counter() - self.start) / self.done * (self.total - finished)
        self.progress(f"[{finished}/{self.total}] about {_duration(left)} left; {what}")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
