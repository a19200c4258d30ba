"""Made-up sweeps and variants: every number is arbitrary, the structure is that of real ones."""

from collections.abc import Callable, Mapping

import pytest

from fuseloom.comparison.recipe_run import RecipeResult
from fuseloom.comparison.sweep import Cell, Course, Sweep
from fuseloom.comparison.variants import Variant, Variants, VariantTable
from fuseloom.metrics.interval import Interval

MakeCourse = Callable[..., Course]


def run(seed: int, score: float) -> RecipeResult:
    found = {"accuracy": score, "norm": 100 * score}
    return RecipeResult(
        name="digits",
        seed=seed,
        valid_loss=0.5,
        epochs=3,
        train_s=2.5,
        parameters=1234,
        rows={"train": 10},
        metric="accuracy",
        higher_is_better=True,
        scores={"valid": found, "test": found},
    )


def interval(mean: float, reach: float, seeds: int) -> Interval:
    return Interval(mean=mean) if seeds == 1 else Interval(mean=mean, low=mean - reach, high=mean + reach)


def course_of(
    scores: Mapping[tuple[str, ...], float],
    keys: tuple[str, ...] = ("theta",),
    *,
    data: str = "digits",
    metric: str = "accuracy",
    higher: bool = True,
    contenders: tuple[tuple[str, ...], ...] = (),
    reach: float = 0.01,
    seeds: int = 3,
    also: tuple[str, ...] = (),
) -> Course:
    """Scores of the combinations of the keys' values; the best counts as a contender always."""
    order = sorted(scores, key=lambda values: -scores[values] if higher else scores[values])
    cells = [
        Cell(
            settings=dict(zip(keys, values, strict=True)),
            test=interval(scores[values], reach, seeds),
            valid=interval(scores[values] + 0.01, reach, seeds),
            also={name: interval(100 * scores[values], 1.0, seeds) for name in also},
            behind=interval(abs(scores[values] - scores[order[0]]), 0.005, seeds),
            contender=seeds == 1 or values == order[0] or values in contenders,
            runs=tuple(run(seed, scores[values]) for seed in range(seeds)),
        )
        for values in order
    ]
    return Course(data=data, metric=metric, higher_is_better=higher, cells=tuple(cells))


def sweep_of(*courses: Course, name: str = "theta-sweep", summary: str = "") -> Sweep:
    cells = courses[0].cells
    grid = {key: tuple(dict.fromkeys(cell.settings[key] for cell in cells)) for key in cells[0].settings}
    return Sweep(name=name, summary=summary, seeds=len(cells[0].runs), grid=grid, courses=courses)


def variants_of(*, seeds: int = 3) -> Variants:
    """The whole and two ablations of it on two data sets."""
    gains = {"whole": None, "no captions": -0.02, "no exchange": 0.001}
    tables = [
        VariantTable(
            data=data,
            metric="accuracy",
            higher_is_better=True,
            variants=tuple(
                Variant(
                    name=name,
                    settings={},
                    test=interval(level + (gain or 0), 0.01, seeds),
                    valid=interval(level, 0.01, seeds),
                    gain=None if gain is None else interval(gain, 0.005, seeds),
                    also={"norm": interval(12.5, 1.0, seeds)},
                    parameters=12_345,
                    train_s=75.0,
                    runs=tuple(run(seed, level) for seed in range(seeds)),
                )
                for name, gain in gains.items()
            ),
        )
        for data, level in (("folder/first", 0.9), ("folder/second", 0.8))
    ]
    return Variants(name="ablation", summary="", seeds=seeds, reference="whole", tables=tuple(tables))


@pytest.fixture
def make_course() -> Callable[..., Course]:
    return course_of


@pytest.fixture
def make_sweep() -> Callable[..., Sweep]:
    return sweep_of


@pytest.fixture
def make_variants() -> Callable[..., Variants]:
    return variants_of
