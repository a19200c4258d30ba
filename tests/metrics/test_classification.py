import numpy as np
import pytest
from sklearn import metrics as oracle

from fuseloom.metrics.classification import (
    accuracy,
    auc,
    balanced_accuracy,
    log_loss,
    macro_f1,
    weighted_f1,
)


@pytest.fixture(params=[2, 4])
def scored(request):
    generator = np.random.default_rng(request.param)
    logits = generator.normal(size=(60, request.param))
    target = generator.integers(request.param, size=60)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probabilities, target


def test_scores_equal_scikit_learn(scored):
    p, y = scored
    chosen = p.argmax(1)
    assert accuracy(p, y) == pytest.approx(oracle.accuracy_score(y, chosen))
    assert balanced_accuracy(p, y) == pytest.approx(oracle.balanced_accuracy_score(y, chosen))
    assert macro_f1(p, y) == pytest.approx(oracle.f1_score(y, chosen, average="macro"))
    assert weighted_f1(p, y) == pytest.approx(oracle.f1_score(y, chosen, average="weighted"))
    assert log_loss(p, y) == pytest.approx(oracle.log_loss(y, p))
    area = oracle.roc_auc_score(y, p[:, 1] if p.shape[1] == 2 else p, multi_class="ovr")
    assert auc(p, y) == pytest.approx(area)


def test_auc_counts_ties_half():
    assert auc(np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([0, 1])) == 0.5


def test_auc_leaves_out_a_class_that_is_not_there():
    p = np.array([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    assert auc(p, np.array([0, 1, 0])) == 1.0
    assert np.isnan(auc(p, np.array([0, 0, 0])))


def test_a_probability_of_zero_costs_much_but_not_infinitely():
    assert log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-np.log(1e-15))
