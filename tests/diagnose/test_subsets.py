import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuseloom import Batch
from fuseloom.diagnose.subsets import subset_names, subsets
from fuseloom.metrics.interval import Interval
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.regression import Regression

METRIC = ("rmse", Regression.metrics["rmse"])


def rows(count=400, names="abc"):
    generator = torch.Generator().manual_seed(0)
    inputs = {name: torch.randn(count, 1, generator=generator, dtype=torch.float64) for name in names}
    return Batch(inputs=inputs, masks={}, target=sum(inputs[name][:, 0] for name in names))


def add(batch):
    """The sum of what is there."""
    total = np.zeros(len(batch))
    for name, value in batch.inputs.items():
        there = batch.masks[name].numpy() if name in batch.masks else 1.0
        total += value[:, 0].numpy() * there
    return total


def test_a_subset_is_scored_as_if_the_others_were_absent():
    given_rows = rows()
    found = subsets(add, given_rows, model="sum", metric=METRIC)
    scores = {one.modalities: one.score.mean for one in found.scores}
    assert scores["a", "b", "c"] == pytest.approx(0, abs=1e-12)
    b, c = (given_rows.inputs[name][:, 0].numpy() for name in "bc")
    assert scores[("a",)] == pytest.approx(np.sqrt(np.mean((b + c) ** 2)))
    assert scores["a", "b"] == pytest.approx(np.sqrt(np.mean(c**2)))
    assert (found.model, found.metric, len(found.scores)) == ("sum", "rmse", 7)
    assert given_rows.masks == {}


def test_a_drop_is_positive_where_the_score_gets_worse_and_lies_in_its_interval():
    for metric in (METRIC, ("r2", Regression.metrics["r2"])):
        first, *others = subsets(add, rows(), model="sum", metric=metric).scores
        assert first.drop == Interval(mean=0)
        for one in others:
            assert one.score.low < one.score.mean < one.score.high
            assert 0 < one.drop.low < one.drop.mean < one.drop.high


def test_the_interval_is_that_of_the_paired_differences():
    """Both classifiers' hits are known row by row, so the standard error of their difference is too."""
    generator = np.random.default_rng(0)
    target = generator.integers(2, size=3000)
    guesses = {name: np.where(generator.random(3000) < p, target, 1 - target) for name, p in [("a", 0.9)]}
    other = np.where(generator.random(3000) < 0.5, guesses["a"], generator.integers(2, size=3000))

    def predict(batch):
        chosen = guesses["a"] if "a" not in batch.masks else other
        return np.eye(2)[chosen]

    inputs = {"a": torch.zeros(3000, 1), "b": torch.zeros(3000, 1)}
    batch = Batch(inputs=inputs, masks={}, target=torch.from_numpy(target))
    found = subsets(predict, batch, model="one", metric=("accuracy", Classification.metrics["accuracy"]))
    only_b = found.scores[2].drop
    differences = (guesses["a"] == target).astype(float) - (other == target)
    assert only_b.mean == pytest.approx(differences.mean())
    half = 1.96 * differences.std() / 3000**0.5
    assert [only_b.low, only_b.high] == pytest.approx(
        [only_b.mean - half, only_b.mean + half], abs=0.1 * half
    )


def test_a_subset_that_loses_nothing_has_an_interval_of_nothing():
    found = subsets(lambda batch: np.zeros(len(batch)), rows(), model="zero", metric=METRIC)
    assert {one.drop for one in found.scores[1:]} == {Interval(mean=0, low=0, high=0)}


def test_models_of_one_modality_stand_beside_it():
    given_rows = rows()
    alone = {"a": given_rows.inputs["a"][:, 0].numpy() * 1.5}
    found = subsets(add, given_rows, model="sum", metric=METRIC, alone=alone)
    beside = {one.modalities: one.alone for one in found.scores}
    single = beside.pop(("a",))
    assert single.mean == pytest.approx(METRIC[1].function(alone["a"], given_rows.target.numpy()))
    assert single.low < single.mean < single.high
    assert set(beside.values()) == {None}


def test_a_metric_that_is_undefined_has_no_interval():
    batch = Batch(inputs={"a": torch.zeros(5, 1), "b": torch.zeros(5, 1)}, masks={}, target=torch.ones(5))
    found = subsets(lambda b: np.zeros(len(b)), batch, model="one", metric=("r2", Regression.metrics["r2"]))
    assert np.isnan(found.scores[1].score.mean)
    assert (found.scores[1].drop.low, found.scores[1].drop.high) == (None, None)


@given(st.integers(1, 9))
def test_every_subset_comes_once_and_large_ones_first(count):
    names = tuple("abcdefghi"[:count])
    found = subset_names(names)
    assert len(set(found)) == len(found) == (2**count - 1 if count <= 6 else 1 + 2 * count)
    assert found[0] == names
    sizes = [len(subset) for subset in found]
    assert sizes == sorted(sizes, reverse=True)
    assert {(name,) for name in names} <= set(found)
