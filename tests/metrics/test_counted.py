import math

import numpy as np
import pytest

from fuseloom.metrics.counted import OfCounts, f1_of, precision_of, ratio_of, recall_of

SUMS = np.array([[2.0, 4.0, 3.0], [0.0, 0.0, 5.0], [0.0, 5.0, 0.0], [0.0, 0.0, 0.0]])
"""Correct, predicted and true: something found, nothing predicted, nothing true, nothing at all."""


def test_f1_is_the_harmonic_mean_of_precision_and_recall_and_nothing_found_scores_zero():
    assert precision_of(SUMS).tolist() == [0.5, 0.0, 0.0, 0.0]
    assert recall_of(SUMS) == pytest.approx([2 / 3, 0, 0, 0])
    assert f1_of(SUMS) == pytest.approx([2 / (1 / 0.5 + 3 / 2), 0, 0, 0])
    assert math.isnan(f1_of(SUMS, none=math.nan)[-1])
    assert math.isnan(ratio_of(SUMS)[1])


def test_a_metric_scores_the_sum_of_its_counts_and_not_the_mean_of_scores():
    metric = OfCounts(lambda predictions, target: np.stack([predictions, target], -1), ratio_of)
    assert metric(np.array([1.0, 0.0]), np.array([1.0, 9.0])) == 0.1
