import copy
import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from fuseloom.errors import DataError, OptionError, UnknownNameError
from fuseloom.tasks.regression import Regression


def test_predictions_are_in_the_units_of_the_target():
    task = Regression.from_state(Regression.learn(np.array([10.0, 30.0])).state())
    assert task.predict(np.array([[-1.0], [1.0]], dtype=np.float32)).tolist() == [10.0, 30.0]


def test_loss_of_a_perfect_output_is_zero():
    task = Regression.learn(np.array([10.0, 30.0]))
    target = torch.tensor([10.0, 20.0], dtype=torch.float64)
    outputs = torch.tensor([[-1.0], [0.0]])
    assert task.loss(outputs, target).item() == 0
    assert task.loss(outputs + 1, target, torch.tensor([1.0, 3.0])).item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 1.0], "target must vary, got always 1"),
        ([], "target must vary, got none"),
        ([1.0, np.nan], "target must be finite, got 1 NaN"),
        (["much", "little"], "must be numbers for regression, got text"),
    ],
)
def test_targets_that_cannot_be_learnt_are_refused(values, message):
    with pytest.raises(DataError, match=message):
        Regression.learn(np.array(values))


def test_metrics_of_sentiment_are_named_by_their_variant():
    predictions, target = np.array([0.4, -0.3, 0.2, 0.0, 2.6]), np.array([1.0, -2.0, 0.0, 0.0, 3.0])
    names = ("acc2_nonzero", "acc2_has0", "acc2_zero_negative", "f1_nonzero", "acc7", "acc5")
    scores = [Regression.metrics[name].function(predictions, target) for name in names]
    assert scores == [1, 1, 0.8, 1, 0.6, 0.6]


def test_a_metric_of_sentiment_without_its_variant_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"Unknown metric 'acc2' of regression\. .*acc2_nonzero_ge"):
        Regression(0.0, 1.0).metric("acc2")


HOLES = np.array([[1.0, 10.0], [3.0, np.nan], [5.0, 30.0], [np.nan, 50.0]])


def test_several_numbers_are_standardised_each_on_its_known_rows():
    task = Regression.from_state(json.loads(json.dumps(Regression.learn(HOLES, ["calm", "joy"]).state())))
    outputs = np.array([[0.0, 1.0]], dtype=np.float32)
    wanted = [3.0, 30 + np.std([10, 30, 50])]
    np.testing.assert_allclose(task.predict(outputs), [wanted])
    columns = task.columns(task.predict(outputs))
    assert list(columns) == ["prediction_calm", "prediction_joy"]
    assert columns["prediction_joy"][0] == pytest.approx(wanted[1])
    assert list(task.target_columns(HOLES)) == ["target_calm", "target_joy"]
    assert task.num_outputs == 2


def test_a_target_that_is_not_known_counts_neither_in_the_loss_nor_in_its_gradient():
    task = Regression.learn(HOLES, ["calm", "joy"])
    target, outputs = torch.from_numpy(HOLES), torch.randn(4, 2, requires_grad=True)
    loss = task.loss(outputs, target)
    known = ~np.isnan(HOLES)
    standard = (HOLES - [3, 30]) / [np.std([1, 3, 5]), np.std([10, 30, 50])]
    squares = np.square(outputs.detach().numpy() - standard)
    assert loss.item() == pytest.approx(squares[known].mean(), rel=1e-5)
    loss.backward()
    assert ((outputs.grad != 0).numpy() == known).all()
    np.testing.assert_allclose(task.losses(outputs, target)[1].item(), squares[1, 0], rtol=1e-5)
    weighted = task.loss(outputs, target, torch.tensor([0.0, 3.0, 0.0, 1.0]))
    assert weighted.item() == pytest.approx((3 * squares[1, 0] + squares[3, 1]) / 4, rel=1e-5)


def test_a_batch_without_any_known_target_has_a_loss_of_zero():
    task = Regression.learn(HOLES)
    outputs = torch.randn(2, 2, requires_grad=True)
    loss = task.loss(outputs, torch.full((2, 2), torch.nan))
    loss.backward()
    assert loss.item() == 0
    assert not outputs.grad.any()


def test_metrics_of_several_numbers_are_averages_and_those_of_each_have_its_name():
    task = Regression.learn(HOLES, ["calm", "joy"])
    generator = np.random.default_rng(0)
    target, predictions = generator.normal(size=(2, 30, 2))
    for name, oracle in (("r2", r2_score), ("mae", mean_absolute_error), ("rmse", root_mean_squared_error)):
        assert task.metric(name)[1].function(predictions, target) == pytest.approx(
            oracle(target, predictions)
        )
        each = oracle(target, predictions, multioutput="raw_values")
        found = [task.metric(f"{name}_{which}")[1] for which in ("calm", "joy")]
        assert [one.function(predictions, target) for one in found] == pytest.approx(each)
        assert {one.higher_is_better for one in found} == {name == "r2"}
    assert task.metric("acc7_joy")[1].function(HOLES, HOLES) == 1
    assert "r2_calm" not in Regression.metrics


def test_baselines_of_several_numbers_are_those_of_scikit_learn_where_all_is_known():
    generator = np.random.default_rng(0)
    features, target = generator.normal(size=(40, 3)), generator.normal(size=(40, 2))
    task = Regression.learn(target)
    estimator = task.baselines(seed=0)[1].fit(features, target)
    oracle = Ridge(alpha=1.0).fit(features, target)
    np.testing.assert_allclose(task.baseline_predict(estimator, features), oracle.predict(features))
    np.testing.assert_allclose(estimator.coef_, oracle.coef_.ravel())
    target[::2, 1] = np.nan
    estimator = task.baselines(seed=0)[1].fit(features, target)
    oracle = Ridge(alpha=1.0).fit(features[1::2], target[1::2, 1])
    np.testing.assert_allclose(task.baseline_predict(estimator, features)[:, 1], oracle.predict(features))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0, 2.0], [3.0, 2.0]], "target '1' must vary, got always 2"),
        ([[1.0, np.nan], [3.0, np.nan]], "target '1' must vary, got none"),
        ([[1.0, np.inf], [3.0, 2.0]], "target must be finite, got 1 infinite values"),
    ],
)
def test_several_targets_that_cannot_be_learnt_are_refused(values, message):
    with pytest.raises(DataError, match=message):
        Regression.learn(np.array(values))


def test_another_number_of_targets_is_refused_and_a_single_column_is_one_number():
    with pytest.raises(DataError, match="target must have 2 columns as in training, got 3"):
        Regression.learn(HOLES).encode(np.zeros((4, 3)))
    one = Regression.learn(np.array([[1.0], [3.0]]), ["joy"])
    assert one.encode(np.array([[4.0]])).tolist() == [4.0]
    assert list(one.columns(one.predict(np.array([[0.0]])))) == ["prediction"]


def test_numbers_have_no_classes_to_balance():
    with pytest.raises(OptionError, match="class_weight must be 'none' for regression, got 'balanced'"):
        Regression(0.0, 1.0).balanced(np.zeros(3))


def test_a_copy_knows_the_metrics_of_each_number():
    again = copy.deepcopy(Regression.learn(HOLES, ["calm", "joy"]))
    assert again.metric("acc7_joy")[1].function(HOLES, HOLES) == 1
    assert again.state() == Regression.learn(HOLES, ["calm", "joy"]).state()
