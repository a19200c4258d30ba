import numpy as np
import pytest

from fuseloom.metrics.resampled import resampled
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.multilabel import Multilabel
from fuseloom.tasks.regression import Regression
from fuseloom.tasks.tagging import Tagging

LABELS, NUMBERS = Multilabel(["a", "b", "c"]), Regression([0.0, 0.0], [1.0, 1.0], names=["calm", "joy"])
METRICS = [
    *((Classification, name) for name in Classification.metrics),
    *((Regression, name) for name in Regression.metrics),
]


def drawn_counts(generator, resamples, rows):
    return generator.multinomial(rows, np.full(rows, 1 / rows), size=resamples)


def repeated(counts):
    return np.repeat(np.arange(len(counts)), counts)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(("task", "name"), METRICS)
@pytest.mark.parametrize("rows", [3, 60])
def test_every_metric_is_that_of_the_repeated_rows(task, name, rows, classes):
    generator = np.random.default_rng(rows + classes)
    metric = task.metrics[name].function
    if task is Classification:
        target = generator.integers(classes, size=rows)
        predictions = generator.integers(1, 5, size=(rows, classes)).astype(float)  # whole numbers: ties
        predictions /= predictions.sum(-1, keepdims=True)
    else:
        target = np.round(generator.normal(scale=2, size=rows))
        predictions = np.round(target + generator.normal(size=rows), 1)
    counts = drawn_counts(generator, 40, rows)
    expected = [metric(predictions[repeated(one)], target[repeated(one)]) for one in counts]
    found = resampled(metric, predictions, target, counts)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rows", [3, 60])
@pytest.mark.parametrize(
    ("task", "name"), [(task, name) for task in (LABELS, NUMBERS) for name in task.metrics]
)
def test_every_metric_of_several_targets_is_that_of_the_repeated_rows(task, name, rows):
    generator = np.random.default_rng(rows)
    metric = task.metrics[name].function
    if task is LABELS:
        target = (generator.uniform(size=(rows, 3)) < 0.3).astype(np.float32)
        predictions = np.round(generator.uniform(size=(rows, 3)), 1)  # tenths: ties
    else:
        target = np.round(generator.normal(scale=2, size=(rows, 2)))
        predictions = np.round(target + generator.normal(size=(rows, 2)), 1)
        target[generator.uniform(size=(rows, 2)) < 0.2] = np.nan
    counts = drawn_counts(generator, 40, rows)
    expected = [metric(predictions[repeated(one)], target[repeated(one)]) for one in counts]
    found = resampled(metric, predictions, target, counts)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_a_target_that_is_never_known_has_no_score():
    target, counts = np.array([[1.0, np.nan], [2.0, np.nan]]), np.array([[1, 1], [2, 0]])
    for name in ("mae", "mae_joy", "acc7_joy"):
        metric = NUMBERS.metrics[name].function
        assert np.isnan(metric(target, target))
        assert np.isnan(resampled(metric, target, target, counts)).all()


def test_a_constant_resample_is_as_undefined_as_constant_rows():
    target, predictions = np.array([0.1, 0.3, 0.7]), np.array([0.2, 0.2, 0.9])
    counts = np.array([[3, 0, 0], [1, 2, 0], [1, 1, 1]])
    assert np.isnan(resampled(Regression.metrics["r2"].function, predictions, target, counts)).tolist() == [
        True,
        False,
        False,
    ]
    assert np.isnan(
        resampled(Regression.metrics["pearson"].function, predictions, target, counts)
    ).tolist() == [True, True, False]


def test_a_function_of_ones_own_is_called_on_the_repeated_rows():
    counts = np.array([[2, 0, 1], [1, 1, 1]])
    largest = resampled(lambda p, t: float((p - t).max()), np.array([1.0, 9.0, 2.0]), np.zeros(3), counts)
    assert largest.tolist() == [2.0, 9.0]


@pytest.mark.parametrize("name", Tagging(["O", "B-LOC", "I-LOC", "B-PER"]).metrics)
def test_every_metric_of_tags_is_that_of_the_repeated_sentences(name):
    task, generator = Tagging(["O", "B-LOC", "I-LOC", "B-PER"]), np.random.default_rng(0)
    target = np.where(
        np.arange(6) < generator.integers(1, 7, size=(30, 1)), generator.integers(4, size=(30, 6)), -1
    )
    right = generator.uniform(size=target.shape) < 0.6
    path = np.where(target < 0, -1, np.where(right, target, generator.integers(4, size=target.shape)))
    chances = generator.dirichlet(np.ones(4), size=target.shape)
    predictions = np.concatenate([chances, path[..., None], np.full((30, 6, 1), np.nan)], -1)
    metric, counts = task.metrics[name].function, drawn_counts(generator, 40, 30)
    expected = [metric(predictions[repeated(one)], target[repeated(one)]) for one in counts]
    assert len(set(expected)) > 20
    np.testing.assert_allclose(resampled(metric, predictions, target, counts), expected, rtol=1e-9)
