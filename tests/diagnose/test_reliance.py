import numpy as np
import pytest
import torch

from fuseloom import Batch
from fuseloom.diagnose.reliance import hide, reliance, shuffle
from fuseloom.tasks.regression import Regression


def rows():
    inputs = {"used": torch.randn(200, 1, dtype=torch.float64), "ignored": torch.randn(200, 4)}
    return Batch(
        inputs=inputs, masks={"used": torch.ones(200, dtype=torch.bool)}, target=inputs["used"][:, 0]
    )


def predict(batch):
    kept = batch.masks["used"].double()
    return (batch.inputs["used"][:, 0] * kept).numpy()


def test_only_what_is_used_is_relied_on():
    given = rows()
    found = reliance(predict, given, model="copy", metric=("r2", Regression.metrics["r2"]))
    assert found.score == 1
    assert found.hidden["ignored"] == found.shuffled["ignored"] == 0
    assert found.hidden["used"] == pytest.approx(1, abs=0.05)  # predicting zero explains nothing
    assert found.shuffled["used"] == pytest.approx(2, abs=0.4)  # an unrelated value of the same spread


def test_a_drop_is_positive_where_lower_is_better():
    found = reliance(predict, rows(), model="copy", metric=("rmse", Regression.metrics["rmse"]))
    assert found.hidden["used"] > 0.5
    assert found.shuffled["used"] > 0.5


def test_the_rows_are_left_as_they_were():
    given = rows()
    before = {name: value.clone() for name, value in given.inputs.items()}
    reliance(predict, given, model="copy", metric=("r2", Regression.metrics["r2"]))
    assert all(given.inputs[name].equal(value) for name, value in before.items())
    assert given.masks["used"].all()


def test_hiding_masks_with_or_without_a_mask_and_shuffling_keeps_mask_and_value_together():
    given = rows()
    assert not hide(given, "used").masks["used"].any()
    assert hide(given, "ignored").masks["ignored"].equal(torch.zeros(200, dtype=torch.bool))
    text = Batch(
        inputs={"text": torch.zeros(3, 7, dtype=torch.uint8)}, masks={"text": torch.ones(3, 7).bool()}
    )
    assert hide(text, "text").masks["text"].shape == (3, 7)
    marked = Batch(inputs={"a": torch.arange(50.0)[:, None]}, masks={"a": torch.arange(50) < 25})
    moved = shuffle(marked, "a", torch.Generator().manual_seed(0))
    assert moved.masks["a"].equal(moved.inputs["a"][:, 0] < 25)
    assert not np.array_equal(moved.inputs["a"], marked.inputs["a"])
