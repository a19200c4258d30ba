import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.utils.class_weight import compute_class_weight

from fuseloom.errors import DataError
from fuseloom.tasks.multilabel import Multilabel

FLAGS = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 0, 0]])


def test_strings_and_columns_are_the_same_task():
    strings = np.array(["a; c", "c;", "b;a;a", ""], dtype=object)
    task = Multilabel.learn(strings)
    columns = Multilabel.learn(FLAGS, ["a", "b", "c"])
    assert task.classes == columns.classes == ("a", "b", "c")
    np.testing.assert_array_equal(task.encode(strings), FLAGS)
    np.testing.assert_array_equal(columns.encode(FLAGS), FLAGS)
    for one, raw in ((task, strings), (columns, FLAGS)):
        assert one.target_columns(raw)["target"].tolist() == ["a;c", "c", "a;b", ""]


@pytest.mark.parametrize(
    ("strings", "separator", "classes"),
    [
        (["a|b", "c"], "|", ("a", "b", "c")),
        (["a|b;c", "b;d"], ";", ("a|b", "b", "c", "d")),
        (["a", "b"], ";", ("a", "b")),
    ],
)
def test_the_separator_of_most_rows_is_told(strings, separator, classes):
    task = Multilabel.learn(np.array(strings))
    assert (task.separator, task.classes) == (separator, classes)
    assert task.notes == (f"classes of a row are split at {separator!r}",)


def test_a_name_with_a_separator_is_joined_by_the_other():
    task = Multilabel.learn(FLAGS, ["a;x", "b", "c"])
    assert task.columns(np.array([[0.9, 0.8, 0.1]]))["prediction"].tolist() == ["a;x|b"]


def test_state_round_trip_decodes_the_same():
    task = Multilabel.learn(np.array(["a|b", "c"])).balanced(FLAGS)
    again = Multilabel.from_state(json.loads(json.dumps(task.state())))
    assert (again.classes, again.separator, again.weights) == (task.classes, "|", task.weights)
    columns = again.columns(again.predict(np.array([[1.0, 0.0, -2.0]])))
    assert columns["prediction"].tolist() == ["a|b"]
    assert columns["p_c"][0] == pytest.approx(1 / (1 + np.exp(2)))


def test_huge_outputs_stay_finite_and_small_probabilities_keep_their_digits():
    found = Multilabel(["a", "b", "c"]).predict(np.array([[1e4, -1e4, -40.0]]))
    np.testing.assert_allclose(found, [[1, 0, np.exp(-40)]], rtol=1e-12)


def test_loss_is_the_mean_over_all_cells_and_rows_may_be_weighted():
    task, outputs, target = Multilabel(["a", "b", "c"]), torch.randn(4, 3), torch.tensor(FLAGS)
    p = outputs.sigmoid()
    cells = -torch.where(target > 0, p, 1 - p).log()
    torch.testing.assert_close(task.loss(outputs, target), cells.mean())
    torch.testing.assert_close(task.losses(outputs, target), cells.mean(-1))
    weighted = task.loss(outputs, target, torch.tensor([1.0, 2.0, 0.0, 0.0]))
    rows = torch.tensor([0, 1, 1])
    torch.testing.assert_close(weighted, task.loss(outputs[rows], target[rows]))


@given(st.lists(st.lists(st.booleans(), min_size=2, max_size=2), min_size=1, max_size=9))
def test_balanced_weights_are_those_of_scikit_learn(flags):
    flags = np.array(flags, dtype=float)
    weights = Multilabel(["a", "b"]).balanced(flags).weights
    for column, pair in zip(flags.T, weights, strict=True):
        if len(set(column)) == 2:
            classes = np.array([0.0, 1.0])
            np.testing.assert_allclose(pair, compute_class_weight("balanced", classes=classes, y=column))
        else:
            assert pair == (1, 1)


def test_balanced_loss_counts_both_sides_of_a_class_alike():
    flags = np.array([[1.0], [0.0], [0.0], [0.0]])
    outputs, target = torch.tensor([[2.0], [2.0], [2.0], [2.0]]), torch.tensor(flags)
    cells = torch.nn.functional.softplus(torch.tensor([-2.0, 2.0]))
    loss = Multilabel(["a"]).balanced(flags).loss(outputs, target)
    torch.testing.assert_close(loss, cells.mean())


def test_baselines_are_one_against_the_rest():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(60, 4))
    target = (features @ generator.normal(size=(4, 3)) > 0).astype(float)
    task = Multilabel(["a", "b", "c"])
    for weight, one in ((None, task), ("balanced", task.balanced(target))):
        found = one.baseline_predict(one.baselines(seed=0)[2].fit(features, target), features)
        estimator = LogisticRegression(C=0.1, max_iter=2000, class_weight=weight)
        wanted = OneVsRestClassifier(estimator).fit(features, target).predict_proba(features)
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_a_baseline_knows_a_class_that_no_training_row_has():
    task = Multilabel(["a", "b"])
    features, target = np.array([[0.0], [1.0], [2.0]]), np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    estimator = task.baselines(seed=0)[0].fit(features, target)
    np.testing.assert_array_equal(task.baseline_predict(estimator, features)[:, 1], 0)
    assert (len(estimator.coef_), len(estimator.intercept_)) == (1, 1)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (np.array([[0, 2]]), "target must be columns of 0 and 1 for multilabel, got 2"),
        (np.array([["a", "b"]]), "must be columns of 0 and 1 for multilabel, got text"),
        (np.array([[0, np.nan]]), "columns of 0 and 1 for multilabel, got nan"),
        (np.array(["a", None], dtype=object), "target must be known, got none in 1 rows"),
        (np.array(["", ";"]), "target must have at least one class, got none"),
    ],
)
def test_targets_that_cannot_be_learnt_are_refused(target, message):
    with pytest.raises(DataError, match=message):
        Multilabel.learn(target)


def test_targets_of_another_task_are_refused():
    task = Multilabel(["a", "b"])
    with pytest.raises(DataError, match=r"of the classes \['a', 'b'\], got 'c'"):
        task.encode(np.array(["a;c"]))
    with pytest.raises(DataError, match="target must have 2 columns as in training, got 3"):
        task.encode(FLAGS)
