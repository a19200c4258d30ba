import numpy as np
import pytest
from sklearn import metrics as oracle

from fuseloom.metrics._labels import label_f1


@pytest.mark.parametrize("classes", [2, 5])
def test_f1_is_weighted_by_the_shares_in_the_target(classes):
    generator = np.random.default_rng(classes)
    predicted, target = generator.integers(classes, size=(2, 40))
    assert label_f1(predicted, target) == pytest.approx(
        oracle.f1_score(target, predicted, average="weighted")
    )


def test_a_class_that_is_only_predicted_has_no_weight():
    predicted, target = np.array([0, 7, 1]), np.array([0, 0, 1])
    assert label_f1(predicted, target) == pytest.approx((2 * (2 / 3) + 1) / 3)


def test_no_rows_have_no_score():
    assert np.isnan(label_f1(np.array([]), np.array([])))
