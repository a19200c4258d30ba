import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_rel

from fuseloom.comparison.over_seeds import over_seeds, paired_by_seed

ONE = (0.81, 0.84, 0.79, 0.9)
OTHER = (0.8, 0.82, 0.79, 0.86)


def test_the_interval_is_that_of_students_t() -> None:
    found, theirs = over_seeds(ONE), ttest_1samp(ONE, 0.0).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(ONE), theirs.low, theirs.high))


def test_a_difference_is_taken_in_pairs_and_positive_is_better() -> None:
    theirs = ttest_rel(ONE, OTHER).confidence_interval(0.95)
    higher, lower = paired_by_seed(ONE, OTHER), paired_by_seed(ONE, OTHER, higher_is_better=False)
    assert (higher.low, higher.high) == pytest.approx((theirs.low, theirs.high))
    assert (lower.low, lower.high) == pytest.approx((-theirs.high, -theirs.low))


@pytest.mark.parametrize("scores", [(0.8,), (0.8, math.nan), (0.8, math.inf)])
def test_without_several_numbers_there_are_no_limits(scores: tuple[float, ...]) -> None:
    assert (over_seeds(scores).low, over_seeds(scores).high) == (None, None)
    assert over_seeds((0.8,)).mean == 0.8


def test_runs_that_agree_leave_an_interval_of_no_width() -> None:
    found = over_seeds((0.5, 0.5, 0.5))
    assert (found.low, found.mean, found.high) == (0.5, 0.5, 0.5)
