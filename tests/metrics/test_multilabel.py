import numpy as np
import pytest
from sklearn import metrics as oracle

from fuseloom.metrics import multilabel as ours


@pytest.fixture(params=[2, 5])
def scored(request):
    generator = np.random.default_rng(request.param)
    probabilities = np.round(generator.uniform(size=(60, request.param)), 1)  # tenths: ties, some one half
    target = (generator.uniform(size=(60, request.param)) < 0.3).astype(np.float32)
    target[:3] = 0
    return probabilities, target


def test_scores_of_chosen_classes_equal_scikit_learn(scored):
    p, y = scored
    chosen = p >= 0.5
    assert ours.macro_f1(p, y) == pytest.approx(oracle.f1_score(y, chosen, average="macro"))
    assert ours.micro_f1(p, y) == pytest.approx(oracle.f1_score(y, chosen, average="micro"))
    assert ours.weighted_f1(p, y) == pytest.approx(oracle.f1_score(y, chosen, average="weighted"))
    sampled = oracle.f1_score(y, chosen, average="samples", zero_division=1)
    assert ours.sample_f1(p, y) == pytest.approx(sampled)
    assert ours.exact_match(p, y) == pytest.approx(oracle.accuracy_score(y, chosen))
    assert ours.hamming_loss(p, y) == pytest.approx(oracle.hamming_loss(y, chosen))


def test_scores_of_probabilities_equal_scikit_learn(scored):
    p, y = scored
    assert ours.auc(p, y) == pytest.approx(oracle.roc_auc_score(y, p, average="macro"))
    precision = oracle.average_precision_score(y, p, average="macro")
    assert ours.mean_average_precision(p, y) == pytest.approx(precision)
    inside = np.clip(p, 0.05, 0.95)
    losses = [
        oracle.log_loss(y[:, k], np.stack([1 - inside[:, k], inside[:, k]], 1), labels=[0, 1])
        for k in range(y.shape[1])
    ]
    assert ours.log_loss(inside, y) == pytest.approx(np.mean(losses))


def test_a_class_that_no_row_has_is_left_out():
    p, y = np.array([[0.9, 0.1], [0.2, 0.3]]), np.array([[1.0, 0.0], [0.0, 0.0]])
    for metric in (ours.macro_f1, ours.micro_f1, ours.weighted_f1, ours.auc, ours.mean_average_precision):
        assert metric(p, y) == 1
    nothing = np.zeros((2, 2))
    for metric in (ours.macro_f1, ours.micro_f1, ours.weighted_f1, ours.auc, ours.mean_average_precision):
        assert np.isnan(metric(nothing, nothing))
    assert ours.sample_f1(nothing, nothing) == ours.exact_match(nothing, nothing) == 1


def test_a_probability_of_zero_costs_much_but_not_infinitely():
    assert ours.log_loss(np.array([[0.0, 0.0]]), np.array([[1.0, 0.0]])) == pytest.approx(-np.log(1e-15) / 2)
