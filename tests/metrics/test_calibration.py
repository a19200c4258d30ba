import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.metrics.calibration import (
    calibration_error,
    equal_mass,
    equal_width,
    fit_temperature,
    reliability_curve,
    tempered,
)
from fuseloom.metrics.classification import accuracy, log_loss


def drawn(rows, classes, *, seed=0, scale=2.0):
    """Probabilities, and classes that were drawn by just these probabilities."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=scale, size=(rows, classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    target = (probabilities.cumsum(-1) < generator.random(rows)[:, None]).sum(-1)
    return probabilities, np.minimum(target, classes - 1)


def two(confidence):
    """Two classes of which the first is chosen with the given confidences."""
    confidence = np.asarray(confidence, dtype=float)
    return np.stack([confidence, 1 - confidence], -1)


def test_bins_made_by_hand():
    probabilities = two([0.55, 0.58, 0.75, 0.95, 0.95, 0.95])
    target = np.array([0, 1, 0, 0, 0, 1])
    curve = reliability_curve(probabilities, target, num_bins=5)
    assert [(one.count, round(one.confidence, 6), one.accuracy) for one in curve] == [
        (2, 0.565, 0.5),
        (1, 0.75, 1.0),
        (3, 0.95, pytest.approx(2 / 3)),
    ]
    gap = (2 * 0.065 + 1 * 0.25 + 3 * (0.95 - 2 / 3)) / 6
    assert calibration_error(probabilities, target, num_bins=5) == pytest.approx(gap)


def test_a_bin_ends_with_its_upper_end():
    curve = reliability_curve(two([0.6, 0.61]), np.array([0, 1]), num_bins=5)
    assert [(one.count, one.accuracy) for one in curve] == [(1, 1.0), (1, 0.0)]


def test_bins_of_equal_mass_hold_equally_many_rows_and_keep_ties_together():
    probabilities, target = drawn(90, 3)
    assert {one.count for one in reliability_curve(probabilities, target, edges=equal_mass, num_bins=9)} == {
        10
    }
    tied = two([0.6] * 5 + [0.9])
    curve = reliability_curve(tied, np.zeros(6, int), edges=equal_mass, num_bins=3)
    assert [(one.count, round(one.confidence, 9)) for one in curve] == [(5, 0.6), (1, 0.9)]


@pytest.mark.parametrize("edges", [equal_width, equal_mass])
def test_one_confidence_for_all_rows_is_one_bin(edges):
    curve = reliability_curve(two([0.7] * 10), np.array([0] * 6 + [1] * 4), edges=edges)
    assert [(one.count, one.accuracy) for one in curve] == [(10, 0.6)]


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("num_bins", [3, 15])
def test_it_is_the_error_of_torchmetrics(classes, num_bins):
    functional = pytest.importorskip("torchmetrics.functional.classification")
    probabilities, target = drawn(400, classes, seed=classes)
    expected = functional.multiclass_calibration_error(
        torch.from_numpy(probabilities), torch.from_numpy(target), num_classes=classes, n_bins=num_bins
    )
    assert calibration_error(probabilities, target, num_bins=num_bins) == pytest.approx(
        float(expected), abs=1e-6
    )


@pytest.mark.parametrize("edges", [equal_width, equal_mass])
def test_probabilities_that_are_true_have_almost_no_error_and_boasting_ones_have(edges):
    probabilities, target = drawn(20_000, 4)
    assert calibration_error(probabilities, target, edges=edges) < 0.015
    boasting = tempered(probabilities, 0.3)
    # By the definition for a single bin of all rows: confidence less accuracy is the least that is lost.
    gap = boasting.max(-1).mean() - accuracy(boasting, target)
    assert calibration_error(boasting, target, edges=edges) >= gap - 1e-12 > 0.1


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found_again(temperature):
    probabilities, target = drawn(30_000, 3)
    assert fit_temperature(tempered(probabilities, 1 / temperature), target) == pytest.approx(
        temperature, rel=0.03
    )


@given(st.integers(0, 10_000), st.integers(2, 6), st.floats(0.2, 5))
def test_no_other_temperature_has_a_lower_loss(seed, classes, other):
    probabilities, target = drawn(30, classes, seed=seed)
    best = log_loss(tempered(probabilities, fit_temperature(probabilities, target)), target)
    assert best <= log_loss(tempered(probabilities, other), target) + 1e-9


@given(st.integers(0, 10_000), st.floats(0.05, 20))
def test_a_temperature_keeps_the_order_and_goes_back(seed, temperature):
    probabilities, target = drawn(20, 4, seed=seed, scale=1.0)
    changed = tempered(probabilities, temperature)
    assert accuracy(changed, target) == accuracy(probabilities, target)
    np.testing.assert_allclose(changed.sum(-1), 1)
    np.testing.assert_allclose(tempered(changed, 1 / temperature), probabilities, rtol=1e-6, atol=1e-9)


def test_it_ends_at_its_bounds_where_nothing_is_best():
    probabilities = two([0.9, 0.8])
    assert fit_temperature(probabilities, np.array([0, 0])) == 0.01  # always right: never sure enough
    assert fit_temperature(probabilities, np.array([1, 1])) == 100.0  # always wrong: never unsure enough


def test_a_probability_of_zero_is_no_obstacle():
    probabilities = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    temperature = fit_temperature(probabilities, np.array([0, 1, 1, 0]))
    changed = tempered(probabilities, temperature)
    assert np.isfinite(changed).all()
    assert changed[0, 0] == pytest.approx(0.75, abs=0.01) or temperature == 100.0
