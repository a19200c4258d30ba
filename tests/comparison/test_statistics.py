"""Intervals against what is known of simulated data."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from fuseloom.comparison.evidence import Evidence
from fuseloom.comparison.statistics import Estimate, Statistics
from fuseloom.metrics.regression import mae
from fuseloom.tasks import Metric
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.regression import Regression

ACCURACY = Classification.metrics["accuracy"]
MEAN = Metric(function=mae, bounded=False)  # of errors that are all positive: their mean


def statistics(models, targets, metric, units=None, resamples=500):
    ends = np.cumsum([0, *map(len, targets)])
    apart = [np.arange(low, high) for low, high in pairwise(ends)]
    given = Evidence(predictions=models, targets=targets, units=apart if units is None else units)
    return Statistics(given, metric, resamples=resamples)


def means(models, metric=MEAN, shared=False, resamples=500):
    """Statistics of values by model, fold and seed, whose score is their mean."""
    folds = next(iter(models.values()))
    targets = [np.zeros(len(fold[0])) for fold in folds]
    units = [np.arange(len(target)) for target in targets] if shared else None
    return statistics(models, targets, metric, units, resamples)


def answers(right, rows):
    """Predictions that are right in the first ``right`` of all rows, of class 0."""
    return np.eye(2)[(np.arange(rows) >= right).astype(int)]


def test_interval_of_one_run_is_the_t_interval_over_rows():
    values = np.random.default_rng(0).normal(10, 1, size=60)
    found = means({"one": [[values]]}, resamples=8000).score("one")
    low, high = stats.t.interval(0.95, 59, loc=values.mean(), scale=stats.sem(values))
    assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), low, high), abs=0.02)


def test_interval_is_the_t_interval_over_seeds_where_rows_are_all_alike():
    levels = [0.70, 0.80, 0.75]
    found = means({"one": [[np.full(40, level) for level in levels]]}).score("one")
    low, high = stats.t.interval(0.95, 2, loc=np.mean(levels), scale=stats.sem(levels))
    assert (found.mean, found.low, found.high) == pytest.approx((0.75, low, high))


def test_folds_on_the_same_rows_are_runs_whatever_their_seeds():
    levels = [(0.6, 0.8), (0.75, 0.75), (0.7, 0.9)]
    found = means({"one": [[np.full(40, x) for x in fold] for fold in levels]}, shared=True).score("one")
    low, high = stats.t.interval(0.95, 2, loc=0.75, scale=stats.sem([np.mean(fold) for fold in levels]))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_folds_on_their_own_rows_are_no_runs():
    levels = [0.70, 0.80, 0.75]
    found = means({"one": [[np.full(40, level)] for level in levels]}).score("one")
    assert (found.low, found.high) == pytest.approx((0.75, 0.75))


def test_seeds_of_each_fold_vary_on_their_own():
    levels = [(0.6, 0.8), (0.9, 0.8)]
    found = means({"one": [[np.full(40, x) for x in fold] for fold in levels]}).score("one")
    error = np.sqrt(sum(stats.sem(fold) ** 2 for fold in levels)) / 2
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 2) * error)


def test_difference_of_seeds_is_that_of_welch():
    one, other = [0.70, 0.80, 0.75], [0.5, 0.9, 0.4]
    models = {n: [[np.full(40, x) for x in xs]] for n, xs in {"one": one, "other": other}.items()}
    found = means(models).difference("other", "one").interval()  # lower is better: MEAN turned around
    expected = stats.ttest_ind(other, one, equal_var=False).confidence_interval()
    negated = Metric(function=mae, bounded=False, higher_is_better=False)
    turned = means(models, negated).difference("one", "other").interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (turned.low, turned.high) == pytest.approx((found.low, found.high))


def test_difference_of_folds_on_the_same_rows_is_paired():
    one, other = [0.70, 0.80, 0.75], [0.60, 0.71, 0.66]
    models = {n: [[np.full(40, x)] for x in xs] for n, xs in {"one": one, "other": other}.items()}
    found = means(models, shared=True).difference("one", "other").interval()
    expected = stats.ttest_rel(one, other).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_difference_over_rows_is_paired():
    generator = np.random.default_rng(0)
    rows = generator.normal(100, 3, size=400)
    one, other = rows + 0.5 + generator.normal(0, 0.5, size=400), rows
    found = means({"one": [[one]], "other": [[other]]}, resamples=8000).difference("one", "other").interval()
    error = stats.sem(one - other)
    assert found.mean == pytest.approx(np.mean(one - other))
    assert found.high - found.low == pytest.approx(2 * 1.966 * error, rel=0.05)


def simulated(generator, rows, seeds, spread):
    """Values whose mean is 50, with deviations of rows, of seeds, and of single predictions."""
    of_row = generator.normal(0, spread[0], size=rows)
    return [
        50 + of_row + generator.normal(0, spread[1]) + generator.normal(0, spread[2], size=rows)
        for _ in range(seeds)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    "spread",
    [(1.0, 0.0, 0.0), (1.0, 0.0, 1.0), (1.0, 0.15, 0.5), (0.1, 1.0, 0.1)],
    ids=["rows", "rows and noise", "rows and runs", "runs"],
)
def test_intervals_hold_the_truth_as_often_as_they_say(spread, shared):
    generator = np.random.default_rng(5)
    runs, trials, hits = 4, 200, 0
    for _ in range(trials):
        values = simulated(generator, 60, runs, spread)
        folds = [[value] for value in values] if shared else [values]
        found = means({"one": folds}, shared=shared, resamples=200).score("one")
        hits += found.low <= 50 <= found.high
    # 95 % less three standard errors of 200 trials; above, an interval may be wide, but not boundless.
    assert 0.90 <= hits / trials <= 0.99


@pytest.mark.slow
def test_resampling_runs_too_is_needed():
    generator = np.random.default_rng(6)
    hits = 0
    for _ in range(200):
        values = simulated(generator, 60, 3, (0.3, 0.5, 0.1))
        found = means({"one": [[np.mean(values, axis=0)]]}, resamples=200).score("one")
        hits += found.low <= 50 <= found.high
    assert hits / 200 < 0.5  # what an interval over rows alone would do


def test_rows_without_an_error_are_no_proof():
    target = np.zeros(100, dtype=int)
    found = statistics({"one": [[answers(100, 100)]]}, [target], ACCURACY).score("one")
    exact = stats.binomtest(100, 100).proportion_ci(method="exact").low
    assert found.high == 1.0
    assert found.low == pytest.approx(exact, abs=0.01)
    none = statistics({"one": [[answers(0, 100)]]}, [target], ACCURACY).score("one")
    assert (none.low, none.high) == pytest.approx((0.0, 1 - found.low))


def test_models_that_agree_on_few_rows_may_differ_on_others():
    target = np.zeros(50, dtype=int)
    models = {"one": [[answers(40, 50)]], "other": [[answers(40, 50)]]}
    few = statistics(models, [target], ACCURACY).difference("one", "other")
    assert few.mean == 0
    assert few.p_below(-0.01) > 0.3
    many = {name: [[np.tile(model[0][0], (20, 1))]] for name, model in models.items()}
    found = statistics(many, [np.tile(target, 20)], ACCURACY).difference("one", "other")
    assert found.p_below(-0.01) < 0.025


def test_equal_predictions_of_numbers_differ_by_exactly_nothing():
    target = np.arange(30.0)
    model = [[target + np.sin(target)]]
    for metric in ("r2", "rmse", "pearson"):
        found = statistics({"a": model, "b": model}, [target], Regression.metrics[metric])
        estimate = found.difference("a", "b")
        assert (estimate.interval().low, estimate.interval().high) == (0.0, 0.0)
        assert (estimate.p_below(-1e-6), estimate.p_below(0.0)) == (0.0, 1.0)


def test_the_interval_of_a_metric_where_lower_is_better_is_not_turned():
    generator = np.random.default_rng(0)
    target = np.arange(80.0)
    found = statistics({"one": [[target + generator.normal(size=80)]]}, [target], Regression.metrics["rmse"])
    score = found.score("one")
    assert 0.7 < score.low < score.mean < score.high < 1.4
    assert found.runs("one") == pytest.approx((score.mean,))


def test_positive_is_better_where_lower_scores_are_better():
    target = np.zeros(50)
    found = statistics(
        {"near": [[target + 0.1]], "far": [[target + 0.4]]}, [target], Regression.metrics["mae"]
    )
    assert found.difference("near", "far").mean == pytest.approx(0.3)


def test_runs_are_listed_fold_by_fold():
    models = {"one": [[np.full(4, 1.0), np.full(4, 2.0)], [np.full(4, 3.0), np.full(4, 4.0)]]}
    assert means(models).runs("one") == (1.0, 2.0, 3.0, 4.0)


def test_a_metric_that_is_never_defined_has_no_interval():
    target = np.array([0, 0])
    model = {"one": [[np.full((2, 2), 0.5)]], "other": [[np.full((2, 2), 0.5)]]}
    found = statistics(model, [target], Classification.metrics["auc"])
    assert np.isnan(found.score("one").mean)
    assert found.score("one").low is None
    assert found.difference("one", "other").p_below(-0.5) == 1.0


def test_undefined_resamples_are_left_out_while_most_are_defined():
    target = np.array([0] * 12 + [1] * 3)
    p = np.linspace(0, 1, 15)[:, None] * [-1, 1] + [1, 0]
    found = statistics({"one": [[p]]}, [target], Classification.metrics["auc"]).score("one")
    assert found.mean == found.high == 1.0
    assert found.low < 1


def test_a_run_that_diverged_leaves_no_interval():
    target = np.arange(20.0)
    models = {"good": [[target + 1, target]], "bad": [[target + np.inf, target]]}
    found = statistics(models, [target], Regression.metrics["rmse"])
    assert found.score("bad").low is None
    assert found.difference("bad", "good").p_below(-1.0) == 1.0
    assert found.score("good").low is not None


def test_p_value_is_small_exactly_where_the_interval_leaves_the_bound_out():
    estimate = Estimate(mean=0.0, below=0.01, above=0.05, degrees=7)
    low = estimate.interval().low
    assert estimate.p_below(low - 1e-6) < 0.025 < estimate.p_below(low + 1e-6)
