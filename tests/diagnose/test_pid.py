import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from fuseloom import Batch
from fuseloom.data.interactions import NAMED_SETTINGS, make_interactions
from fuseloom.diagnose.pid import pid, pid_agreement
from fuseloom.errors import DataError, OptionError

SETTINGS = {
    **NAMED_SETTINGS,
    "partly": {"redundant": 0.5, "unique": (0.3, 0.6), "synergistic": 0.7},
    "one side": {"unique": (1.0, 0.0), "synergistic": 0.0},
}


def rows_of(data):
    _, target = np.unique(data.target.astype(str), return_inverse=True)
    inputs = {name: torch.from_numpy(values) for name, values in data.streams.items()}
    return Batch(inputs=inputs, target=torch.from_numpy(target))


def discrete(count=2000, seed=0, **amounts):
    return rows_of(make_interactions(count, kind="discrete", seed=seed, **amounts))


def numbers(parts):
    return [parts.redundant.mean, *(one.mean for one in parts.unique.values()), parts.synergistic.mean]


def stated(amounts):
    unique = amounts.get("unique", 0.0)
    first, second = unique if isinstance(unique, tuple) else (unique, unique)
    return [amounts.get("redundant", 0.0), first, second, amounts["synergistic"]]


@pytest.mark.parametrize("name", SETTINGS)
def test_stated_amounts_of_discrete_data_are_found(name):
    found = pid(discrete(5000, **SETTINGS[name]), resamples=20)
    assert found.clustered == ()
    np.testing.assert_allclose(numbers(found.data), stated(SETTINGS[name]), atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_stated_amounts_of_continuous_data_are_found(name):
    found = pid(rows_of(make_interactions(5000, **SETTINGS[name])), resamples=20)
    assert found.clustered == ("a", "b")
    np.testing.assert_allclose(numbers(found.data), stated(SETTINGS[name]), atol=0.05)


def test_parts_add_up():
    found = pid(discrete(redundant=0.4, unique=(0.5, 0.2), synergistic=0.5), resamples=10).data
    assert sum(numbers(found)) == pytest.approx(found.total.mean)
    assert sum(found.shares()) == pytest.approx(1)


def test_names_stay_with_their_numbers_whatever_the_order():
    rows = discrete(unique=(1.0, 0.0), synergistic=0.0)
    one = pid(rows, resamples=5)
    other = pid(rows, sources=["b", "a"], resamples=5)
    assert one.sources == ("a", "b")
    assert other.sources == ("b", "a")
    for found in (one, other):
        assert found.data.unique["a"].mean == pytest.approx(1, abs=0.01)
        assert found.data.unique["b"].mean == pytest.approx(0, abs=0.01)


def test_units():
    rows = discrete(500)
    bits, nats = (pid(rows, unit=unit, resamples=5) for unit in ("bits", "nats"))
    assert nats.data.synergistic.mean == pytest.approx(bits.data.synergistic.mean * np.log(2))
    assert nats.target_entropy == pytest.approx(bits.target_entropy * np.log(2))


def test_data_without_information_have_none():
    generator = torch.Generator().manual_seed(0)
    draw = [torch.randint(4, (1500,), generator=generator) for _ in range(3)]
    found = pid(Batch(inputs={"a": draw[0], "b": draw[1]}, target=draw[2]), resamples=50)
    assert max(numbers(found.data)) < 0.02
    assert found.data.total.low < 0.005


def test_the_correction_takes_away_what_few_rows_add():
    """Of many sets without information, the mean of what is found is near that of nothing."""
    generator = np.random.default_rng(0)
    totals = []
    for seed in range(8):
        draw = [torch.from_numpy(generator.integers(3, size=200)) for _ in range(3)]
        found = pid(Batch(inputs={"a": draw[0], "b": draw[1]}, target=draw[2]), resamples=10, seed=seed)
        totals.append(found.data.total.mean)
    plain = 16 / (2 * 200) / np.log(2)
    assert np.mean(totals) < 0.5 * plain


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say():
    amounts = {"redundant": 0.5, "synergistic": 0.5}
    held = 0
    for seed in range(25):
        found = pid(discrete(600, seed=seed, **amounts), resamples=100, seed=seed).data
        held += sum(part.low <= 0.5 <= part.high for part in (found.redundant, found.synergistic))
    assert held >= 40


def test_a_model_is_told_from_the_data():
    """The label is one bit of each modality side by side; a model that reads one of them uses no other."""
    rows = discrete(unique=1.0, synergistic=0.0)

    def predict(batch):
        seen = batch.inputs["a"][:, 0].long().numpy()
        return np.eye(4)[2 * seen]

    def right(batch):
        return np.eye(4)[batch.target.numpy()]

    found, whole = (pid(rows, one, resamples=5) for one in (predict, right))
    assert found.model.unique["a"].mean == pytest.approx(1, abs=0.01)
    assert found.model.unique["b"].mean == pytest.approx(0, abs=0.01)
    assert found.agreement == pytest.approx(0.5, abs=0.01)
    assert whole.agreement == pytest.approx(1, abs=0.01)
    assert whole.agreement == pytest.approx(pid_agreement(whole.data, whole.model))


def test_a_constant_model_uses_nothing():
    found = pid(discrete(500), lambda batch: np.tile([1.0, 0.0], (len(batch), 1)), resamples=5)
    assert numbers(found.model) == [0, 0, 0, 0]
    assert found.agreement == 0


def test_numbers_are_decomposed_in_bins():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 1500, 1, generator=generator)
    rows = Batch(inputs={"a": a, "b": b}, target=a[:, 0])
    found = pid(rows, lambda batch: batch.inputs["b"][:, 0].numpy(), num_bins=2, resamples=5)
    assert found.data.unique["a"].mean > 0.9
    assert found.model.unique["b"].mean > 0.5
    assert found.agreement < 0.1


def test_absent_modalities_are_a_symbol_and_what_is_masked_does_not_matter():
    rows = discrete(unique=(1.0, 0.0), synergistic=0.0)
    there = torch.arange(len(rows)) % 2 == 0
    masked = replace(rows, masks={"a": there})
    filled = replace(masked, inputs={**rows.inputs, "a": rows.inputs["a"].clone()})
    filled.inputs["a"][~there] = torch.nan
    found, other = pid(masked, resamples=5), pid(filled, resamples=5)
    assert asdict(found) == asdict(other)
    assert found.data.unique["a"].mean == pytest.approx(0.5, abs=0.01)


def test_the_same_seed_gives_the_same_and_nothing_is_changed():
    rows = discrete(400)
    before = {name: value.clone() for name, value in rows.inputs.items()}
    state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002  the one that must not move
    found = pid(rows, resamples=10, seed=3)
    assert found == pid(rows, resamples=10, seed=3)
    assert all(torch.equal(value, before[name]) for name, value in rows.inputs.items())
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    json.dumps(asdict(found))


def test_errors():
    with pytest.raises(DataError, match="rows must be at least 20 to estimate information from, got 10"):
        pid(discrete(10))
    with pytest.raises(OptionError, match="resamples must be at least 2, got 1"):
        pid(discrete(100), resamples=1)
