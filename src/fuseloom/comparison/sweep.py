"""A grid over the settings of a recipe: every run once, the best by validation."""

import csv
import hashlib
import io
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import chdir, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fuseloom.comparison.cluster import Cluster, connected, fan_out, telling
from fuseloom.comparison.recipe_run import RecipeResult, run_recipe
from fuseloom.comparison.training import Progress as Say
from fuseloom.errors import OptionError, RunError
from fuseloom.train.files import write_whole
from fuseloom.train.fit import one_thread
from fuseloom.train.journal import RunFolder
from fuseloom.train.lock import holding
from fuseloom.train.recipe import Recipe, read_recipe, recipe_yaml

__all__ = ["Cell", "parse_grid", "run_sweep", "sweep_csv"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of the grid's values, with its runs."""

    settings: Mapping[str, str]
    """Dotted key -> value as it was written."""
    runs: tuple[RecipeResult, ...]
    """One for each seed."""

    def score(self, split: str) -> float:
        """Mean of the default metric over the seeds; NaN where a run has none."""
        found = [run.scores[split][run.metric] for run in self.runs]
        return float(np.mean([np.nan if score is None else score for score in found]))

    @property
    def rank(self) -> float:
        """Smaller is better: the validation score with its sign turned, what is not defined last."""
        score = self.score("valid")
        turned = -score if self.runs[0].higher_is_better else score
        return turned if np.isfinite(turned) else float("inf")


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One training run of the grid."""

    key: str
    settings: Mapping[str, str]
    recipe: Recipe
    folder: Path


def parse_grid(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Read ``KEY=VALUE,VALUE`` texts.

    Raises:
        OptionError: a text of another form, or a key twice.

    Example:
        >>> parse_grid(["fit.lr=1e-3,3e-3", "model.fusion=sum,film"])
        {'fit.lr': ('1e-3', '3e-3'), 'model.fusion': ('sum', 'film')}
    """
    grid: dict[str, tuple[str, ...]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        found = tuple(value.strip() for value in values.split(","))
        if not equals or not all(found):
            raise OptionError(f"grid must be KEY.SUB=VALUE,VALUE, got {text!r}.")
        if key.strip() in grid:
            raise OptionError(f"grid must name each key once, got {key.strip()!r} twice.")
        grid[key.strip()] = found
    return grid


def run_sweep(  # noqa: PLR0913  the keywords are the interface of a command
    source: str | None,
    grid: Mapping[str, Sequence[str]],
    out: Path,
    *,
    seeds: int = 1,
    overrides: Sequence[str] = (),
    num_workers: int | Cluster = 1,
    overwrite: bool = False,
    progress: Say = lambda line: None,
) -> list[Cell]:
    """Train every combination of the grid with every seed; the best by validation comes first.

    Runs compute with one thread each, so that the numbers do not depend on how many run at once. What the
    journal holds is not run again, and a run that was killed goes on where it stopped.

    Args:
        source: A recipe, as `read_recipe` takes it.
        grid: Dotted key -> values to try.
        out: Run folder; gets ``sweep.csv`` and a run folder for each run under ``runs/``.
        seeds: How many, counted from that of the recipe.
        overrides: ``KEY.SUB=VALUE`` for all runs.
        num_workers: Processes to train in; or a cluster, whose nodes must all see ``out``.
        overwrite: Remove what ``out`` holds first.
        progress: Called with a line for a person for each finished run.

    Raises:
        MissingExtraError: a cluster is asked for and Ray is not installed.
        OptionError: an unknown key, or a value out of its range: before anything is trained.
        RunError: ``out`` holds something else, or a run failed.
    """
    runs = _plan(source, grid, out, seeds=seeds, overrides=overrides)
    request = {run.key: run.recipe.state() for run in runs}
    with holding(out):
        folder = RunFolder.open(out, {"sweep": request}, overwrite=overwrite)
        missing = [run for run in runs if run.key not in folder.finished]

        def finish(run: _Run, result: RecipeResult) -> None:
            folder.record(run.key, asdict(result))
            score = result.scores["valid"][result.metric]
            told = "not defined" if score is None else f"{score:.4f}"
            progress(f"[{len(folder.finished)}/{len(runs)}] {run.key}: validation {result.metric} {told}")

        _run_all(missing, finish, num_workers)
        cells = sorted(_cells(runs, folder), key=lambda cell: cell.rank)
        write_whole(out / "sweep.csv", sweep_csv(cells))
    return cells


def sweep_csv(cells: Sequence[Cell]) -> str:
    """A row for each combination: its settings, and the means over its seeds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    metric = cells[0].runs[0].metric
    writer.writerow([*cells[0].settings, f"valid_{metric}", f"test_{metric}", "seeds", "train_s"])
    for cell in cells:
        scores = (f"{cell.score(split):.6g}" for split in ("valid", "test"))
        seconds = f"{sum(run.train_s for run in cell.runs):.3g}"
        writer.writerow([*cell.settings.values(), *scores, len(cell.runs), seconds])
    return text.getvalue()


def _plan(
    source: str | None, grid: Mapping[str, Sequence[str]], out: Path, *, seeds: int, overrides: Sequence[str]
) -> list[_Run]:
    if not grid:
        raise OptionError("grid must name at least one setting, got none.")
    runs = []
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        recipe = read_recipe(source, [*overrides, *(f"{key}={value}" for key, value in settings.items())])
        words = ", ".join(f"{key}={value}" for key, value in settings.items())
        for seed in range(recipe.fit.seed, recipe.fit.seed + seeds):
            key = f"{words}, seed {seed}"
            folder = out / "runs" / hashlib.sha256(key.encode()).hexdigest()[:12]
            own = replace(recipe, fit=replace(recipe.fit, seed=seed))
            runs.append(_Run(key=key, settings=settings, recipe=own, folder=folder))
    return runs


def _run_all(
    runs: Sequence[_Run], finish: Callable[[_Run, RecipeResult], None], workers: int | Cluster
) -> None:
    if isinstance(workers, Cluster):
        _run_on(runs, finish, workers)
    elif workers == 1:
        _run_here(runs, finish)
    else:
        _run_there(runs, finish, workers)


def _run_on(runs: Sequence[_Run], finish: Callable[[_Run, RecipeResult], None], cluster: Cluster) -> None:
    """Runs on the nodes; one whose process died goes on where it stopped."""
    by_key, here = {run.key: run for run in runs}, str(Path.cwd())
    calls = {
        key: (str(_written(run).resolve()), str(run.folder.resolve()), here) for key, run in by_key.items()
    }
    with connected(cluster) as ray, closing(fan_out(ray, _train, calls)) as answers:
        for key, answer in answers:
            finish(by_key[key], RecipeResult(**answer))


@telling
def _train(recipe: str, folder: str, here: str) -> dict[str, Any]:
    with chdir(here):  # what the recipe's paths are relative to
        result = run_recipe(read_recipe(recipe), Path(folder))
    assert result is not None
    return asdict(result)


def _run_here(runs: Sequence[_Run], finish: Callable[[_Run, RecipeResult], None]) -> None:
    with one_thread():
        for run in runs:
            result = run_recipe(run.recipe, run.folder)
            assert result is not None
            finish(run, result)


def _run_there(runs: Sequence[_Run], finish: Callable[[_Run, RecipeResult], None], num_workers: int) -> None:
    with ThreadPoolExecutor(num_workers) as threads:
        futures = {threads.submit(_in_process, run): run for run in runs}
        try:
            for future in as_completed(futures):
                finish(futures[future], future.result())
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _in_process(run: _Run) -> RecipeResult:
    """The run as a command of its own."""
    command = [
        sys.executable,
        "-m",
        "fuseloom",
        "train",
        str(_written(run)),
        "--out",
        str(run.folder),
        "--json",
    ]
    single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **single})
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise RunError(f"{run.key} failed: {said[-1] if said else f'code {done.returncode}'}")
    return RecipeResult(**json.loads(done.stdout))


def _written(run: _Run) -> Path:
    """A file with the recipe of the run, beside its folder."""
    file = run.folder.parent / f"{run.folder.name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, recipe_yaml(run.recipe))
    return file


def _cells(runs: Sequence[_Run], folder: RunFolder) -> list[Cell]:
    found: dict[tuple[str, ...], list[RecipeResult]] = {}
    settings = {tuple(run.settings.values()): run.settings for run in runs}
    for run in runs:
        found.setdefault(tuple(run.settings.values()), []).append(RecipeResult(**folder.finished[run.key]))
    return [Cell(settings=settings[values], runs=tuple(own)) for values, own in found.items()]
