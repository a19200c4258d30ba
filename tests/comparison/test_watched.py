"""What was seen of variants, at three of their epochs and against the reference."""

import math
from collections.abc import Mapping, Sequence

import pytest

from fuseloom.comparison.recipe_run import RecipeResult
from fuseloom.comparison.variants import Variant, Variants, VariantTable
from fuseloom.comparison.watched import watched_quantities
from fuseloom.metrics.interval import Interval

NOTHING = Interval(mean=0.0)


def run(seed: int, watched: Mapping[str, Sequence[Mapping[str, float | None]]]) -> RecipeResult:
    return RecipeResult(
        name="muse",
        seed=seed,
        valid_loss=0.5,
        epochs=3,
        train_s=1.0,
        parameters=1,
        rows={},
        metric="accuracy",
        higher_is_better=True,
        scores={},
        watched=watched,
    )


def gaps(*values: float | None) -> dict[str, list[dict[str, float | None]]]:
    return {"shared-space": [{"epoch": epoch, "gap": value} for epoch, value in enumerate(values, start=1)]}


def found(**runs: Sequence[Mapping[str, Sequence[Mapping[str, float | None]]]]) -> Variants:
    variants = tuple(
        Variant(
            name=name,
            settings={},
            test=NOTHING,
            valid=NOTHING,
            gain=None,
            also={},
            parameters=1,
            train_s=1.0,
            runs=tuple(run(seed, watched) for seed, watched in enumerate(seen)),
        )
        for name, seen in runs.items()
    )
    table = VariantTable(data="scenes", metric="accuracy", higher_is_better=True, variants=variants)
    return Variants(name="x", summary="", seeds=2, reference="both", tables=(table,))


def test_epochs_are_those_of_each_run_and_differences_are_seed_by_seed() -> None:
    both, none = watched_quantities(
        found(both=[gaps(0.9, 0.5, 0.1), gaps(0.7, 0.4, 0.3, 0.2, 0.3)], none=[gaps(1.0, 0.8), gaps(0.5)])
    )
    assert (both.data, both.variant, both.quantity) == ("scenes", "both", "gap")
    assert both.first.mean == pytest.approx(0.8)
    assert both.middle.mean == pytest.approx((0.5 + 0.3) / 2)
    assert both.last.mean == pytest.approx(0.2)
    assert both.last.low < 0.2 < both.last.high
    assert both.against is None
    assert none.against.mean == pytest.approx((0.8 - 0.1 + 0.5 - 0.3) / 2)


def test_what_was_not_seen_once_has_no_mean_and_shows_no_other() -> None:
    both, none = watched_quantities(found(both=[gaps(0.9, 0.1), gaps(0.7, None)], none=[gaps(1.0, 0.8)] * 2))
    assert both.first.mean == pytest.approx(0.8)
    assert math.isnan(both.last.mean)
    assert none.last.mean == pytest.approx(0.8)
    assert math.isnan(none.against.mean)


def test_a_loss_that_a_variant_does_not_have_is_not_a_row_of_it() -> None:
    def norms(**values: float) -> dict[str, list[dict[str, float | None]]]:
        return {"gradient-norms": [{"epoch": 1, **values}]}

    rows = watched_quantities(found(both=[norms(task=1.0)], captions=[norms(task=2.0, captioning=3.0)]))
    assert [(one.variant, one.quantity) for one in rows] == [
        ("both", "task"),
        ("captions", "task"),
        ("captions", "captioning"),
    ]
    assert rows[2].against is None
    assert watched_quantities(found(both=[{}])) == ()
