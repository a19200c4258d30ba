import numpy as np
import pytest
import torch

from fuseloom.errors import DataError, UnknownNameError
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
    scores = [Regression.metric(name)[1].function(predictions, target) for name in names]
    assert scores == [1, 1, 0.8, 1, 0.6, 0.6]


def test_a_metric_of_sentiment_without_its_variant_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"Unknown metric 'acc2' of regression\. .*acc2_nonzero_ge"):
        Regression.metric("acc2")
