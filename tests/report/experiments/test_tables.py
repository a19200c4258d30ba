import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from fuseloom.comparison.sweep import Course, Sweep
from fuseloom.comparison.variants import Variants
from fuseloom.metrics.interval import Interval
from fuseloom.report.experiments.tables import data_names, optimum_saying, sweep_table, variants_table

MakeCourse = Callable[..., Course]
MakeSweep = Callable[..., Sweep]
THETA = {("0.1",): 0.84, ("0.2",): 0.82, ("0.3",): 0.7}


def test_a_row_for_each_value_and_data_set(make_course: MakeCourse, make_sweep: MakeSweep) -> None:
    first = make_course(THETA, contenders=(("0.2",),), also=("norm",))
    second = make_course({value: 1 - score for value, score in THETA.items()}, data="a/views", also=("norm",))
    table = sweep_table(make_sweep(first, second))
    assert table.head == (
        *("data", "theta", "test accuracy", "95 % interval", "valid accuracy", "against best", "norm"),
    )
    assert table.rows[:3] == (
        ("digits", "0.1", "0.840", "0.830 to 0.850", "0.850", "best", "84.00 [83.00, 85.00]"),
        ("digits", "0.2", "0.820", "0.810 to 0.830", "0.830", "not shown worse", "82.00 [81.00, 83.00]"),
        ("digits", "0.3", "0.700", "0.690 to 0.710", "0.710", "worse", "70.00 [69.00, 71.00]"),
    )
    assert [row[:2] for row in table.rows[3:]] == [("views", "0.3"), ("views", "0.2"), ("views", "0.1")]
    assert table.words == 2
    assert "3 seeds" in table.note
    assert "seed by seed" in table.note


def test_one_seed_says_that_it_has_no_intervals(make_course: MakeCourse, make_sweep: MakeSweep) -> None:
    table = sweep_table(make_sweep(make_course(THETA, seeds=1)))
    assert [row[3] for row in table.rows] == ["n/a"] * 3
    assert [row[5] for row in table.rows] == ["best", "", ""]
    assert table.note == "One seed: nothing is known of other runs, so there are no intervals."


def test_data_sets_of_different_metrics_name_them(make_course: MakeCourse, make_sweep: MakeSweep) -> None:
    errors = make_course(THETA, data="reviews", metric="rmse", higher=False)
    table = sweep_table(make_sweep(make_course(THETA), errors))
    assert table.head[:4] == ("data", "metric", "theta", "test score")
    assert [row[:3] for row in table.rows][2:4] == [("digits", "accuracy", "0.3"), ("reviews", "rmse", "0.3")]


def test_settings_are_headed_by_their_last_word_where_that_is_enough(
    make_course: MakeCourse, make_sweep: MakeSweep
) -> None:
    scores = {("1", "0.5"): 0.8, ("2", "0.5"): 0.9}
    for keys, shown in (
        (("model.options.low_rank.rank", "model.dropout"), ("rank", "dropout")),
        (("model.options.muse.theta", "model.options.other.theta"), None),
    ):
        assert sweep_table(make_sweep(make_course(scores, keys))).head[1:3] == (shown or keys)


def test_data_sets_of_one_name_in_two_folders_keep_their_folders() -> None:
    assert data_names(["a/set", "b/set"]) == ["a/set", "b/set"]
    assert data_names(["a/set.csv", "b/other.csv", "digits"]) == ["set.csv", "other.csv", "digits"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"contenders": (("0.2",), ("0.3",))}, "0.850]; not shown to be worse: 0.2 and 0.3."),
        ({}, "0.850]; all others are worse."),
        ({"seeds": 1}, "test accuracy 0.840."),
    ],
)
def test_the_optimum_and_what_is_not_shown_to_be_worse(
    make_course: MakeCourse, changes: dict[str, object], said: str
) -> None:
    saying = optimum_saying(make_course(THETA, **changes), "digits")
    start = "digits: best by validation is theta=0.1, the smallest tried, test accuracy 0.840"
    assert saying.startswith(start)
    assert saying.endswith(said)


@pytest.mark.parametrize(
    ("best", "where"), [("1e-1", ", the largest tried"), ("0.02", ""), ("0", ", the smallest tried")]
)
def test_a_best_value_at_an_end_is_said_to_be_there(make_course: MakeCourse, best: str, where: str) -> None:
    course = make_course({(value,): 0.5 + 0.1 * (value == best) for value in ("0", "1e-1", "0.02")})
    assert optimum_saying(course, "d").startswith(f"d: best by validation is theta={best}{where}, test")


def test_of_combinations_and_of_many_values_only_their_number_is_said(make_course: MakeCourse) -> None:
    pairs = {("1", "0"): 0.9, ("1", "1"): 0.8, ("2", "0"): 0.7}
    saying = optimum_saying(make_course(pairs, ("alpha", "beta"), contenders=(("1", "1"),)), "digits")
    assert "best by validation is alpha=1, beta=0," in saying
    assert saying.endswith("; 1 of 2 others are not shown to be worse.")
    values = {(str(number),): 0.5 + number / 100 for number in range(9)}
    saying = optimum_saying(make_course(values, contenders=tuple(values)), "digits")
    assert saying.endswith("; 8 of 8 others are not shown to be worse.")


def test_without_a_validation_score_there_is_no_best(make_course: MakeCourse) -> None:
    course = make_course({("0.1",): 0.5})
    undefined = replace(course, cells=(replace(course.cells[0], valid=Interval(mean=math.nan)),))
    assert optimum_saying(undefined, "d") == "d: no run has a validation accuracy, so there is no best."


def test_a_row_for_each_variant_with_its_difference_from_the_reference(
    make_variants: Callable[..., Variants],
) -> None:
    table = variants_table(make_variants())
    assert table.head == (
        *("data", "variant", "test accuracy", "95 % interval", "against whole", "95 % interval"),
        *("norm", "parameters", "training"),
    )
    costs = ("12.50 [11.50, 13.50]", "12,345", "1 min 15 s")
    assert table.rows[:2] == (
        ("first", "whole", "0.900", "0.890 to 0.910", "", "", *costs),
        ("first", "no captions", "0.880", "0.870 to 0.890", "-0.020", "-0.025 to -0.015", *costs),
    )
    assert [row[0] for row in table.rows] == ["first"] * 3 + ["second"] * 3
    assert table.note.startswith(
        "Against whole: plus is better, seed by seed on test rows. Means over 3 seeds"
    )


def test_variants_of_one_seed_have_differences_without_intervals(
    make_variants: Callable[..., Variants],
) -> None:
    table = variants_table(make_variants(seeds=1))
    assert [row[4:6] for row in table.rows][:2] == [("", ""), ("-0.020", "n/a")]
    assert "One seed: nothing is known of other runs" in table.note
