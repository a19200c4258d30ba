import numpy as np
import pytest
import torch

from fuseloom import Batch
from fuseloom.diagnose.shapley import sample_shapley_values, shapley
from fuseloom.errors import DataError, OptionError
from fuseloom.tasks import Metric
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.regression import Regression

ACCURACY = ("accuracy", Classification.metrics["accuracy"])
MAE = ("mae", Regression.metrics["mae"])


def there(batch, name):
    return batch.mask_of(name).numpy()


def rows(names, count=300):
    inputs = {name: torch.randn(count, 1, dtype=torch.float64) for name in names}
    return Batch(inputs=inputs, masks={}, target=sum(value[:, 0] for value in inputs.values()))


def test_a_model_of_two_halves_shares_the_gain_of_both():
    """Right with both or with the first alone, else it says class 0."""
    target = torch.tensor([0, 1] * 100)
    batch = Batch(inputs={"a": torch.ones(200, 1), "b": torch.ones(200, 1)}, masks={}, target=target)

    def predict(given):
        known = there(given, "a")
        return np.eye(2)[np.where(known, target.numpy(), 0)]

    found = shapley(predict, batch, model="first", metric=ACCURACY)
    assert (found.score.mean, found.empty.mean, found.coalitions) == (1, 0.5, 4)
    assert (found.values["a"].mean, found.values["b"].mean) == (0.5, 0)
    assert found.values["a"].low < 0.5 < found.values["a"].high
    assert (found.values["b"].low, found.values["b"].high) == (0, 0)
    assert (found.spread.mean, found.mean_difference.mean) == (0.5, 0.5)
    assert found.standard_errors == {}


def test_values_sum_to_the_gain_and_are_positive_where_lower_is_better():
    def predict(given):
        return sum(value[:, 0].numpy() * there(given, name) for name, value in given.inputs.items())

    found = shapley(predict, rows("abc"), model="sum", metric=MAE)
    assert sum(one.mean for one in found.values.values()) == pytest.approx(
        found.empty.mean - found.score.mean
    )
    assert min(one.low for one in found.values.values()) > 0
    assert found.spread.mean >= found.mean_difference.mean > 0


def test_drawn_orders_find_what_an_additive_score_is_made_of_exactly():
    """Where what a modality adds does not depend on the others, every order gives the same."""
    names, batch = "abcdefghijkl", rows("abcdefghijkl", count=20)

    def predict(given):
        return np.full(20, sum(place + 1.0 for place, name in enumerate(names) if there(given, name).all()))

    level = ("level", Metric(function=lambda guess, target: float(guess.mean())))
    found = shapley(predict, batch, model="count", metric=level, num_orders=4, resamples=50)
    assert [found.values[name].mean for name in names] == pytest.approx(range(1, 13))
    assert max(found.standard_errors.values()) == pytest.approx(0, abs=1e-12)
    assert found.coalitions < 4 * 13


def test_drawn_orders_come_near_and_their_standard_errors_say_how_near():
    """The largest of the players that are there: values of all but the largest two depend on the order."""
    names, batch = "abcdefghijkl", rows("abcdefghijkl", count=5)

    def predict(given):
        known = [place + 1.0 for place, name in enumerate(names) if there(given, name).all()]
        return np.full(5, max(known, default=0.0))

    level = ("level", Metric(function=lambda guess, target: float(guess.mean())))
    found = shapley(predict, batch, model="max", metric=level, num_orders=200, resamples=200)
    # In the airport game a player shares each step of one up to its own level with all that are higher.
    exact = np.cumsum([1 / (12 - step) for step in range(12)])
    values = np.array([found.values[name].mean for name in names])
    errors = np.array([found.standard_errors[name] for name in names])
    assert values.sum() == pytest.approx(12)
    assert np.abs(values - exact).max() < 0.5
    assert (np.abs(values - exact) <= 3.5 * errors + 1e-9).all()
    assert found.values["l"].low < exact[-1] < found.values["l"].high


def test_values_of_each_row_have_the_values_of_the_mean_as_their_mean():
    batch = rows("abc", count=50)
    signs = Batch(inputs=batch.inputs, masks={"a": torch.arange(50) > 5}, target=(batch.target > 0).long())

    def predict(given):
        total = sum(value[:, 0].numpy() * there(given, name) for name, value in given.inputs.items())
        return np.eye(2)[(total > 0).astype(int)]

    def correct(guess, target):
        return (guess.argmax(-1) == target).astype(float)

    each = sample_shapley_values(predict, signs, worth=correct)
    found = shapley(predict, signs, model="sign", metric=ACCURACY, resamples=10)
    assert {name: value.mean() for name, value in each.items()} == pytest.approx(
        {name: one.mean for name, one in found.values.items()}
    )
    assert each["a"][:6].tolist() == [0] * 6  # these rows lack it


def test_nothing_is_changed():
    batch = rows("ab")
    state = torch.get_rng_state()
    shapley(lambda given: np.zeros(len(given)), batch, model="zero", metric=MAE)
    assert batch.masks == {}
    assert torch.get_rng_state().equal(state)


def test_what_cannot_be_done_is_said():
    many = rows("abcdefghijk", count=2)
    with pytest.raises(OptionError, match=r"at most 10 modalities .* got 11\. Use shapley"):
        sample_shapley_values(lambda given: np.zeros(2), many, worth=lambda guess, target: guess)
    with pytest.raises(OptionError, match="num_orders must be at least 3, two pairs, got 2"):
        shapley(lambda given: np.zeros(2), many, model="zero", metric=MAE, num_orders=2)
    with pytest.raises(DataError, match="rows must have a target"):
        shapley(lambda given: np.zeros(2), Batch(inputs=many.inputs), model="zero", metric=MAE)
