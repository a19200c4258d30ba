import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from fuseloom.errors import DataError, UnknownNameError
from fuseloom.tasks.classification import Classification


def test_classes_keep_their_order_and_numbers_stay_whole():
    assert Classification.learn(np.array([10.0, 2.0, 2.0])).classes == ("2", "10")
    assert Classification.learn(np.array(["10", "2"], dtype=object)).classes == ("10", "2")
    assert Classification.learn(np.array([0.5, 2.0])).classes == ("0.5", "2")


def test_state_round_trip_decodes_the_same():
    task = Classification.learn(np.array(["yes", "no"]))
    again = Classification.from_state(task.state())
    columns = again.columns(again.predict(np.array([[3.0, 1.0], [0.0, 2.0]], dtype=np.float32)))
    assert list(columns["prediction"]) == ["no", "yes"]
    assert columns["p_no"][0] == pytest.approx(1 / (1 + np.exp(-2)))
    np.testing.assert_allclose(columns["p_no"] + columns["p_yes"], 1)


def test_huge_outputs_stay_finite():
    probabilities = Classification(["a", "b"]).predict(np.array([[1e4, -1e4]]))
    np.testing.assert_allclose(probabilities, [[1, 0]])


def test_weighted_loss_is_the_mean_over_repeated_rows():
    task = Classification(["a", "b"])
    outputs, target = torch.randn(3, 2), torch.tensor([0, 1, 1])
    weighted = task.loss(outputs, target, torch.tensor([1.0, 2.0, 0.0]))
    rows = torch.tensor([0, 1, 1])
    torch.testing.assert_close(weighted, task.loss(outputs[rows], target[rows]))


@pytest.mark.parametrize(("values", "only"), [(["a", "a"], "'a'"), ([], "none")])
def test_one_class_is_refused(values, only):
    with pytest.raises(DataError, match=f"at least two classes, got only {only}"):
        Classification.learn(np.array(values))


def test_an_unknown_class_is_refused():
    with pytest.raises(DataError, match=r"one of \['a', 'b'\], got 'c'"):
        Classification(["a", "b"]).encode(np.array(["a", "c"]))


def test_an_unknown_metric_is_answered_with_the_nearest():
    with pytest.raises(
        UnknownNameError, match=r"Unknown metric 'accurate' of classification\. Did you mean 'accuracy'"
    ):
        Classification(["a", "b"]).metric("accurate")


def test_baseline_gives_a_column_for_a_class_it_never_saw():
    task = Classification(["a", "b", "c"])
    estimator = task.baselines(seed=0)[0].fit([[0.0], [1.0]], [0, 2])
    np.testing.assert_allclose(task.baseline_predict(estimator, [[0.5]])[:, 1], 0)


def test_weighted_f1_is_one_of_the_metrics():
    probabilities = np.eye(2)[[0, 0, 0, 1]]
    name, metric = Classification(["a", "b"]).metric("weighted_f1")
    assert metric.higher_is_better
    assert metric.function(probabilities, np.array([0, 0, 1, 1])) == pytest.approx((0.8 + 2 / 3) / 2), name


def test_balanced_weights_are_those_of_scikit_learn_and_survive_the_state():
    target = np.array([0, 0, 0, 1])
    task = Classification.from_state(Classification(["a", "b", "never"]).balanced(target).state())
    wanted = compute_class_weight("balanced", classes=np.array([0, 1]), y=target)
    np.testing.assert_allclose(task.weights, [*wanted, 1.0])


def test_balanced_loss_counts_each_class_alike_and_the_loss_of_a_row_is_its_own():
    plain, target = Classification(["a", "b"]), torch.tensor([0, 0, 0, 1])
    outputs = torch.randn(4, 2)
    task = plain.balanced(target.numpy())
    each = plain.losses(outputs, target)
    torch.testing.assert_close(task.loss(outputs, target), (each[:3].mean() + each[3]) / 2)
    torch.testing.assert_close(task.losses(outputs, target), each)
    oracle = torch.nn.functional.cross_entropy(outputs, target, weight=torch.tensor(task.weights))
    torch.testing.assert_close(task.loss(outputs, target), oracle)
    weighted = task.loss(outputs, target, torch.tensor([1.0, 0.0, 0.0, 1.0]))
    torch.testing.assert_close(weighted, (each[0] * 2 / 3 + each[3] * 2) / (2 / 3 + 2))


def test_baselines_of_a_balanced_task_are_balanced():
    task = Classification(["a", "b"]).balanced(np.array([0, 0, 1]))
    assert {one.class_weight for one in task.baselines(seed=0)} == {"balanced"}
    assert {one.class_weight for one in Classification(["a", "b"]).baselines(seed=0)} == {None}


def test_several_columns_are_refused_and_one_is_taken():
    with pytest.raises(DataError, match=r"one column for classification, got 2\. Use --task multilabel"):
        Classification.learn(np.zeros((3, 2)))
    task = Classification.learn(np.array([["a"], ["b"]]))
    assert task.encode(np.array([["b"]])).tolist() == [1]
    assert task.target_columns(np.array([["b"]]))["target"].tolist() == ["b"]


def test_a_row_without_a_class_is_refused():
    with pytest.raises(DataError, match=r"a class in every row, got an empty one in 2 rows.*multilabel"):
        Classification.learn(np.array(["a", "", "b", ""], dtype=object))
