"""Ways to train one recipe, on several data sets and with several seeds: every run once, journalled."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import chdir, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from fuseloom.comparison.cluster import Cluster, connected, fan_out, telling
from fuseloom.comparison.recipe_run import RecipeResult, run_recipe
from fuseloom.comparison.training import Progress as Say
from fuseloom.errors import FuseloomError, OptionError, RunError, did_you_mean
from fuseloom.registry import list_names, lookup
from fuseloom.train.files import write_whole
from fuseloom.train.fit import one_thread
from fuseloom.train.journal import RunFolder
from fuseloom.train.lock import holding
from fuseloom.train.recipe import Recipe, read_recipe, recipe_yaml

__all__ = ["Results", "Terms", "run_trials", "scores_of"]

Results = dict[str, dict[str, tuple[RecipeResult, ...]]]
"""Data set -> way to train -> a run for each seed."""
_OUTER = {
    "data.source": "Name data sets with --data, or as data in an experiment.",
    "fit.seed": "Say how many with --seeds, or as seeds in an experiment.",
}


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What all runs of an experiment have in common."""

    recipe: str | None = None
    """As `read_recipe` takes it."""
    data: tuple[str, ...] = ()
    """Data sets, as ``data.source`` of a recipe names them; that of the recipe where none is named."""
    seeds: int = 1
    """How many, counted from that of the recipe."""
    settings: tuple[str, ...] = ()
    """``KEY.SUB=VALUE`` for all runs; a way's own settings count more."""
    metric: str | None = None
    """What runs are compared by; that of the task by default."""
    also: tuple[str, ...] = ()
    """Further scores of the test rows that the table shows."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise OptionError(f"seeds must be at least 1, got {self.seeds}.")
        if twice := sorted({one for one in self.data if self.data.count(one) > 1}):
            raise OptionError(f"data must name each set once, got {twice[0]!r} twice.")
        if self.metric is not None and self.metric not in (known := _directions()):
            raise OptionError(f"Unknown metric {self.metric!r}.{did_you_mean(self.metric, known)}")

    def changed(
        self,
        *,
        recipe: str | None = None,
        data: Sequence[str] = (),
        seeds: int | None = None,
        settings: Sequence[str] = (),
    ) -> Self:
        """These with another recipe, data sets or number of seeds, where given, and with more settings."""
        return replace(
            self,
            recipe=self.recipe if recipe is None else recipe,
            data=tuple(data) if data else self.data,
            seeds=self.seeds if seeds is None else seeds,
            settings=(*self.settings, *settings),
        )

    def judge(self, runs: Sequence[RecipeResult]) -> tuple[str, bool]:
        """What runs on one data set are compared by, and whether more of it is better."""
        if self.metric is None:
            return runs[0].metric, runs[0].higher_is_better
        return self.metric, _directions()[self.metric]


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """One training run."""

    key: str
    data: str
    way: str
    recipe: Recipe
    folder: Path


def run_trials(
    ways: Mapping[str, Mapping[str, str]],
    terms: Terms,
    out: Path,
    *,
    num_workers: int | Cluster = 1,
    overwrite: bool = False,
    progress: Say = lambda line: None,
) -> Results:
    """Train a recipe in every way on every data set with every seed.

    Runs compute with one thread each, so that the numbers do not depend on how many run at once. What the
    journal holds is not run again, and a run that was killed goes on where it stopped.

    Args:
        ways: Name -> dotted key -> value as it would be written.
        terms: What the runs have in common.
        out: Run folder; each run gets a folder of its own under ``runs/``.
        num_workers: Processes to train in; or a cluster, whose nodes must all see ``out``.
        overwrite: Remove what ``out`` holds first.
        progress: Called with a line for a person for each finished run.

    Raises:
        MissingExtraError: a cluster is asked for and Ray is not installed.
        OptionError: an unknown key, or a value out of its range: before anything is trained; or the runs have
            no score of a name that ``terms`` asks for.
        RunError: ``out`` holds something else, or a run failed.
    """
    trials = _plan(ways, terms, out)
    with holding(out):
        request = {trial.key: trial.recipe.state() for trial in trials}
        folder = RunFolder.open(out, {"trials": request}, overwrite=overwrite)
        missing = [trial for trial in trials if trial.key not in folder.finished]

        def finish(trial: _Trial, result: RecipeResult) -> None:
            folder.record(trial.key, asdict(result))
            metric, _ = terms.judge([result])
            _check_scored(result, [metric, *terms.also])
            score = result.scores["valid"][metric]
            told = "not defined" if score is None else f"{score:.4f}"
            progress(f"[{len(folder.finished)}/{len(trials)}] {trial.key}: validation {metric} {told}")

        _run_all(missing, finish, num_workers)
    found: dict[str, dict[str, list[RecipeResult]]] = {}
    metrics: dict[str, str] = {}
    for trial in trials:
        result = RecipeResult(**folder.finished[trial.key])
        metric = metrics.setdefault(trial.data, terms.judge([result])[0])
        _check_scored(result, [metric, *terms.also])
        found.setdefault(trial.data, {}).setdefault(trial.way, []).append(result)
    return {data: {way: tuple(runs) for way, runs in of.items()} for data, of in found.items()}


def scores_of(runs: Sequence[RecipeResult], split: str, metric: str) -> list[float]:
    """A score of each run; NaN where it is not defined."""
    found = [run.scores[split][metric] for run in runs]
    return [float("nan") if score is None else score for score in found]


def _directions() -> dict[str, bool]:
    """Metric of any task -> whether higher is better."""
    tasks = [lookup(name, kind="task") for name in list_names(kind="task")]
    return {name: one.higher_is_better for task in tasks for name, one in task.metrics.items()}


def _check_scored(result: RecipeResult, metrics: Sequence[str]) -> None:
    known = result.scores["test"]
    if unknown := [name for name in metrics if name not in known]:
        hint = did_you_mean(unknown[0], known)
        raise OptionError(f"All runs must have the score {unknown[0]!r}, got one without.{hint}")


def _plan(ways: Mapping[str, Mapping[str, str]], terms: Terms, out: Path) -> list[_Trial]:
    """All runs, those of the first seed first: so what is wrong anywhere is found early."""
    data = terms.data or (read_recipe(terms.recipe, terms.settings).data.source,)
    recipes = {
        (way, source): _recipe(way, settings, source, terms)
        for way, settings in ways.items()
        for source in data
    }
    trials = []
    for number in range(terms.seeds):
        for (way, source), recipe in recipes.items():
            own = replace(recipe, fit=replace(recipe.fit, seed=recipe.fit.seed + number))
            key = f"{source}: {way}, seed {own.fit.seed}"
            folder = out / "runs" / hashlib.sha256(key.encode()).hexdigest()[:12]
            trials.append(_Trial(key=key, data=source, way=way, recipe=own, folder=folder))
    return trials


def _recipe(way: str, settings: Mapping[str, str], source: str, terms: Terms) -> Recipe:
    if outer := [key for key in _OUTER if key in settings]:
        raise OptionError(f"{outer[0]} must not differ between ways, got it in {way!r}. {_OUTER[outer[0]]}")
    changes = [f"{key}={value}" for key, value in settings.items()]
    return read_recipe(terms.recipe, [*terms.settings, *changes, f"data.source={source}"])


def _run_all(
    trials: Sequence[_Trial], finish: Callable[[_Trial, RecipeResult], None], workers: int | Cluster
) -> None:
    if isinstance(workers, Cluster):
        _run_on(trials, finish, workers)
    elif workers == 1:
        _run_here(trials, finish)
    else:
        _run_there(trials, finish, workers)


def _run_on(
    trials: Sequence[_Trial], finish: Callable[[_Trial, RecipeResult], None], cluster: Cluster
) -> None:
    """Runs on the nodes; one whose process died goes on where it stopped."""
    by_key, here = {trial.key: trial for trial in trials}, str(Path.cwd())
    calls = {
        key: (str(_written(trial).resolve()), str(trial.folder.resolve()), here)
        for key, trial in by_key.items()
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


def _run_here(trials: Sequence[_Trial], finish: Callable[[_Trial, RecipeResult], None]) -> None:
    with one_thread():
        for trial in trials:
            try:
                result = run_recipe(trial.recipe, trial.folder)
            except FuseloomError as error:
                raise RunError(f"{trial.key} failed: {error}") from error
            assert result is not None
            finish(trial, result)


def _run_there(
    trials: Sequence[_Trial], finish: Callable[[_Trial, RecipeResult], None], num_workers: int
) -> None:
    with ThreadPoolExecutor(num_workers) as threads:
        futures = {threads.submit(_in_process, trial): trial for trial in trials}
        try:
            for future in as_completed(futures):
                finish(futures[future], future.result())
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _in_process(trial: _Trial) -> RecipeResult:
    """The run as a command of its own."""
    command = [
        sys.executable,
        "-m",
        "fuseloom",
        "train",
        str(_written(trial)),
        "--out",
        str(trial.folder),
        "--json",
    ]
    single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **single})
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise RunError(f"{trial.key} failed: {said[-1] if said else f'code {done.returncode}'}")
    return RecipeResult(**json.loads(done.stdout))


def _written(trial: _Trial) -> Path:
    """A file with the recipe of the run, beside its folder."""
    file = trial.folder.parent / f"{trial.folder.name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, recipe_yaml(trial.recipe))
    return file
