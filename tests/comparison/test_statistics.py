import numpy as np
import pytest
from scipy import stats

from fuseloom.comparison.statistics import difference_interval, over_runs, resampled_scores
from fuseloom.tasks.classification import Classification

ACCURACY = Classification.metric("accuracy")[1]
LOSS = Classification.metric("log_loss")[1]


def guesses(target, right, generator):
    hit = generator.random(len(target)) < right
    chosen = np.where(hit, target, 1 - target)
    return np.eye(2)[chosen] * 0.8 + 0.1


def test_interval_over_seeds_is_the_t_interval():
    scores = [0.7, 0.8, 0.75]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(scores), scale=stats.sem(scores))
    found = over_runs([scores])
    assert (found.mean, found.low, found.high) == pytest.approx((0.75, low, high))


def test_interval_over_folds_is_over_their_means():
    assert over_runs([[0.1, 0.3], [0.4, 0.4], [0.5, 0.7]]) == over_runs([[0.2, 0.4, 0.6]])


def test_folds_are_resampled_within_and_averaged():
    generator = np.random.default_rng(1)
    sizes = (300, 700)
    targets = [generator.integers(2, size=size) for size in sizes]
    right = [[np.eye(2)[target]] for target in targets]
    other = [[guesses(target, share, generator)] for target, share in zip(targets, (0.5, 0.9), strict=True)]
    found = difference_interval(right, other, targets, ACCURACY)
    misses = [(fold[0].argmax(1) != target) for fold, target in zip(other, targets, strict=True)]
    assert found.mean == pytest.approx(np.mean([miss.mean() for miss in misses]))
    error = np.sqrt(sum(stats.sem(miss.astype(float)) ** 2 for miss in misses)) / 2
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_interval_of_a_difference_agrees_with_the_paired_standard_error():
    generator = np.random.default_rng(0)
    target = generator.integers(2, size=1000)
    one, other = guesses(target, 0.8, generator), guesses(target, 0.7, generator)
    found = difference_interval([[one]], [[other]], [target], ACCURACY)
    hits = [(p.argmax(1) == target).astype(float) for p in (one, other)]
    error = stats.sem(hits[0] - hits[1])
    assert found.mean == pytest.approx(np.mean(hits[0] - hits[1]))
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_equal_predictions_differ_by_exactly_nothing():
    target = np.array([0, 1, 1])
    p = [[np.eye(2)[[0, 1, 0]]]]
    drawn = resampled_scores({"one": p, "other": p}, [target], ACCURACY)
    assert (drawn["one"] == drawn["other"]).all()


def test_blocks_of_resamples_hold_every_row_as_often_as_drawn(monkeypatch):
    generator = np.random.default_rng(0)
    targets = [generator.integers(2, size=size) for size in (5, 40)]
    models = {"one": [[guesses(target, 0.8, generator)] for target in targets]}
    whole = resampled_scores(models, targets, ACCURACY, resamples=50)["one"]
    monkeypatch.setattr("fuseloom.comparison.statistics._MOST_CELLS", 64)
    assert resampled_scores(models, targets, ACCURACY, resamples=50)["one"] == pytest.approx(whole)
    assert len(set(whole)) > 10


def test_positive_is_better_where_lower_scores_are_better():
    target = np.zeros(50, dtype=int)
    sure, unsure = np.tile([0.9, 0.1], (50, 1)), np.tile([0.6, 0.4], (50, 1))
    assert difference_interval([[sure]], [[unsure]], [target], LOSS).mean > 0


def test_seeds_are_averaged():
    target = np.array([0, 0])
    right, wrong = np.eye(2)[[0, 0]], np.eye(2)[[1, 1]]
    assert difference_interval([[right, wrong]], [[wrong, wrong]], [target], ACCURACY).mean == 0.5


def test_a_metric_that_is_never_defined_has_no_interval():
    target = np.array([0, 0])
    p = [[np.full((2, 2), 0.5)]]
    found = difference_interval(p, p, [target], Classification.metric("auc")[1])
    assert np.isnan(found.mean)
    assert found.low is None
