import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from fuseloom.comparison.result import Comparison, Entry
from fuseloom.metrics.interval import Interval
from fuseloom.report.scale import in_scale

HIGH = [0.98, 0.97, 0.95]


@pytest.mark.parametrize(
    ("means", "higher", "kept"),
    [
        ([*HIGH, 0.93, 0.9], True, [*HIGH, 0.93, 0.9]),
        ([*HIGH, 0.1], True, HIGH),
        ([*HIGH, 0.1, 0.05], True, HIGH),
        ([*HIGH, math.nan, math.inf], True, HIGH),
        ([0.5, 0.5, 0.5, 0.499], True, [0.5, 0.5, 0.5, 0.499]),
        ([3.0, 3.2, 1e6], False, [3.0, 3.2]),
        ([3.0, 3.2, 0.001], True, [3.2, 3.0]),
        ([0.9, 0.1], True, [0.9, 0.1]),
        ([0.9, 0.1, 0.09, 0.08], True, [0.9, 0.1, 0.09, 0.08]),
        ([-9.0, -1.0, -1.1, -1.2], True, [-1.0, -1.1, -1.2]),
        ([], True, []),
    ],
)
def test_a_few_far_behind_are_left_out(
    comparison: Comparison,
    make_entry: Callable[..., Entry],
    means: list[float],
    higher: bool,
    kept: list[float],
) -> None:
    entries = tuple(make_entry(str(mean), [0.5], test=Interval(mean=mean)) for mean in means)
    found = in_scale(replace(comparison, entries=entries, higher_is_better=higher))
    assert [entry.test.mean for entry in found] == kept


@pytest.mark.parametrize("role", ["name", "best_unimodal", "best_fusion"])
def test_what_the_answer_is_about_is_kept_however_far_behind(
    comparison: Comparison, make_entry: Callable[..., Entry], role: str
) -> None:
    means = {"a": 0.98, "b": 0.97, "c": 0.975, "d": 0.96, "far": 0.5, "chance": 0.1, "broken": -20.0}
    entries = tuple(make_entry(name, [0.5], test=Interval(mean=mean)) for name, mean in means.items())
    answer = replace(comparison.recommendation, **{role: "far"})
    found = in_scale(replace(comparison, entries=entries, recommendation=answer))
    assert [entry.name for entry in found] == ["a", "c", "b", "d", "far", "chance"]
