"""A grid over the settings of a recipe, on one data set or several: the best by validation first."""

import csv
import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fuseloom.comparison.cluster import Cluster
from fuseloom.comparison.over_seeds import over_seeds, paired_by_seed
from fuseloom.comparison.recipe_run import RecipeResult
from fuseloom.comparison.training import Progress as Say
from fuseloom.comparison.trials import Terms, run_trials, scores_of
from fuseloom.errors import OptionError
from fuseloom.metrics.interval import Interval
from fuseloom.train.files import write_whole

__all__ = ["Cell", "Course", "Sweep", "SweepConfig", "parse_grid", "run_sweep", "sweep_csv"]


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """What is tried, and on which terms."""

    name: str
    grid: Mapping[str, Sequence[str]]
    """Dotted key -> values to try, as they would be written."""
    terms: Terms = field(default_factory=Terms)
    summary: str = ""
    """What it asks."""

    def __post_init__(self) -> None:
        if not self.grid:
            raise OptionError("grid must name at least one setting, got none.")
        if empty := [key for key, values in self.grid.items() if not values]:
            raise OptionError(f"grid must give values to try, got none of {empty[0]!r}.")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of the grid's values on one data set; scores are means over its seeds."""

    settings: Mapping[str, str]
    """Dotted key -> value as it was written."""
    test: Interval
    valid: Interval
    also: Mapping[str, Interval]
    """Further scores of the test rows."""
    behind: Interval
    """By how much the optimum's validation score is better, seed by seed."""
    contender: bool
    """Whether that does not show it to be worse than the optimum, as a single seed never does."""
    runs: tuple[RecipeResult, ...]
    """One for each seed."""

    @property
    def name(self) -> str:
        """Its settings as one text."""
        return _name(self.settings)


@dataclass(frozen=True, kw_only=True)
class Course:
    """How the score goes with the settings on one data set."""

    data: str
    metric: str
    higher_is_better: bool
    cells: tuple[Cell, ...]
    """The best by validation, which is the optimum, comes first; what has no validation score is last."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a sweep found, on each data set alike."""

    name: str
    summary: str
    seeds: int
    grid: Mapping[str, tuple[str, ...]]
    courses: tuple[Course, ...]


def parse_grid(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Read ``KEY=VALUE,VALUE`` texts.

    Raises:
        OptionError: a text of another form, or a key twice.

    Example:
        >>> parse_grid(["fit.lr=1e-3,3e-3", "model.options.low_rank.rank=2,4"])
        {'fit.lr': ('1e-3', '3e-3'), 'model.options.low_rank.rank': ('2', '4')}
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


def run_sweep(
    config: SweepConfig,
    out: Path,
    *,
    num_workers: int | Cluster = 1,
    overwrite: bool = False,
    progress: Say = lambda line: None,
) -> Sweep:
    """Train every combination of the grid on every data set with every seed; see `run_trials`.

    The optimum is chosen on validation rows; test scores stand beside and choose nothing.

    Args:
        config: What is tried.
        out: Run folder; gets ``sweep.csv`` too.
        num_workers: Processes to train in; or a cluster, whose nodes must all see ``out``.
        overwrite: Remove what ``out`` holds first.
        progress: Called with a line for a person for each finished run.

    Raises:
        MissingExtraError: a cluster is asked for and Ray is not installed.
        OptionError: an unknown key or metric, or a value out of its range.
        RunError: ``out`` holds something else, or a run failed.
    """
    combinations = [
        dict(zip(config.grid, values, strict=True)) for values in itertools.product(*config.grid.values())
    ]
    ways = {_name(settings): settings for settings in combinations}
    found = run_trials(
        ways, config.terms, out, num_workers=num_workers, overwrite=overwrite, progress=progress
    )
    courses = tuple(_course(data, ways, runs, config.terms) for data, runs in found.items())
    sweep = Sweep(
        name=config.name,
        summary=config.summary,
        seeds=config.terms.seeds,
        grid={key: tuple(values) for key, values in config.grid.items()},
        courses=courses,
    )
    write_whole(out / "sweep.csv", sweep_csv(sweep))
    return sweep


def sweep_csv(sweep: Sweep) -> str:
    """A row for each combination on each data set: its settings, and the means over its seeds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["data", *sweep.grid, "metric", "valid", "test", "test_low", "test_high", "seeds", "train_s"]
    )
    for course in sweep.courses:
        for cell in course.cells:
            scores = [cell.valid.mean, cell.test.mean, cell.test.low, cell.test.high]
            shown = ["" if score is None or not np.isfinite(score) else f"{score:.6g}" for score in scores]
            seconds = f"{np.mean([run.train_s for run in cell.runs]):.4g}"
            values = (cell.settings[key] for key in sweep.grid)
            writer.writerow([course.data, *values, course.metric, *shown, len(cell.runs), seconds])
    return text.getvalue()


def _name(settings: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items())


def _course(
    data: str,
    ways: Mapping[str, Mapping[str, str]],
    found: Mapping[str, tuple[RecipeResult, ...]],
    terms: Terms,
) -> Course:
    metric, higher = terms.judge(next(iter(found.values())))
    valid = {way: scores_of(runs, "valid", metric) for way, runs in found.items()}
    order = sorted(found, key=lambda way: _rank(valid[way], higher_is_better=higher))
    cells = []
    for way in order:
        behind = paired_by_seed(valid[order[0]], valid[way], higher_is_better=higher)
        cell = Cell(
            settings=ways[way],
            test=over_seeds(scores_of(found[way], "test", metric)),
            valid=over_seeds(valid[way]),
            also={name: over_seeds(scores_of(found[way], "test", name)) for name in terms.also},
            behind=behind,
            contender=bool(np.isfinite(behind.mean)) and not (behind.low is not None and behind.low > 0),
            runs=found[way],
        )
        cells.append(cell)
    return Course(data=data, metric=metric, higher_is_better=higher, cells=tuple(cells))


def _rank(scores: Sequence[float], *, higher_is_better: bool) -> float:
    """Smaller is better: the mean score with its sign turned, what is not defined last."""
    score = float(np.mean(scores))
    turned = -score if higher_is_better else score
    return turned if np.isfinite(turned) else float("inf")
