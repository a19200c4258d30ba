import json
from dataclasses import asdict, replace

import pytest
import torch

from fuseloom import Batch
from fuseloom.diagnose.emap import emap
from fuseloom.diagnose.interaction_parts import interaction_parts
from fuseloom.errors import DataError
from fuseloom.metrics.interval import Interval
from fuseloom.tasks.regression import Regression

R2 = ("r2", Regression.metrics["r2"])


def rows(count=40, names="tva", seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = {name: torch.randn(count, generator=generator, dtype=torch.float64) for name in names}
    return Batch(inputs=inputs, target=torch.zeros(count, dtype=torch.float64))


def truth(batch):
    t, v, a = batch.inputs.values()
    return t + t * v + t * v * a


def measure(outputs, batch, metric=R2, **options):
    return interaction_parts(
        outputs, batch, predict=lambda columns: columns[:, 0], model="one", metric=metric, **options
    )


def test_each_order_adds_what_it_explains():
    batch = rows()
    found = measure(truth, replace(batch, target=truth(batch)))
    assert [one.order for one in found.orders] == [1, 2, 3]
    assert sum(one.energy for one in found.orders) == pytest.approx(1)
    assert all(one.energy > 0.1 for one in found.orders)
    scores = [one.score.mean for one in found.orders]
    assert scores[-1] == pytest.approx(1)
    gains = [one.gain.mean for one in found.orders]
    constant = R2[1].function(truth(batch).new_full((40,), float(_mean(batch))).numpy(), truth(batch).numpy())
    assert [sum(gains[:k]) for k in (1, 2, 3)] == pytest.approx([score - constant for score in scores])
    assert all(one.gain.low <= one.gain.mean <= one.gain.high for one in found.orders)
    assert (found.rows, found.of_rows, found.combinations) == (40, 40, 40**3 + 48)


def _mean(batch):
    """Mean output over all combinations."""
    t, v, a = (value.mean() for value in batch.inputs.values())
    return t + t * v + t * v * a


def test_a_model_of_pairs_has_nothing_of_three():
    batch = rows()
    t, v, a = batch.inputs.values()
    pairs = lambda b: b.inputs["t"] * b.inputs["v"] + b.inputs["a"]  # noqa: E731
    found = measure(pairs, replace(batch, target=t * v + a), metric=("rmse", Regression.metrics["rmse"]))
    assert found.orders[2].energy < 1e-12
    assert found.orders[2].gain.mean == pytest.approx(0, abs=1e-12)
    assert found.orders[1].score.mean == pytest.approx(0, abs=1e-12)
    assert found.orders[1].gain.low > 0.5


def test_the_first_order_is_the_additive_projection():
    batch = rows()
    batch = replace(batch, target=truth(batch))
    first = measure(truth, batch).orders[0]
    found = emap(truth, batch, predict=lambda columns: columns[:, 0], model="one", metric=R2)
    assert first.score.mean == pytest.approx(found.after.mean)
    assert first.score.low == pytest.approx(found.after.low)
    assert 1 - first.energy == pytest.approx(found.energy)


def test_of_two_modalities_there_are_two_orders():
    batch = rows(names="ab")
    found = measure(lambda b: b.inputs["a"] * b.inputs["b"], replace(batch, target=batch.inputs["a"]))
    assert [one.order for one in found.orders] == [1, 2]
    assert found.modalities == ("a", "b")


def test_of_many_rows_some_are_drawn(monkeypatch):
    monkeypatch.setattr("fuseloom.diagnose.interaction_parts._MOST_CELLS", 10**3 + 5)
    batch = rows(count=50)
    batch = replace(batch, target=truth(batch))
    found = measure(truth, batch)
    assert (found.rows, found.of_rows) == (10, 50)
    assert found == measure(truth, batch)
    assert found.orders[0].energy != measure(truth, batch, seed=1).orders[0].energy


def test_a_model_that_never_changes_has_no_order():
    batch = rows()
    found = measure(lambda b: torch.full((len(b),), 0.1), batch, metric=("mae", Regression.metrics["mae"]))
    assert [one.energy for one in found.orders] == [0, 0, 0]
    assert [one.gain.mean for one in found.orders] == pytest.approx([0, 0, 0], abs=1e-12)


def test_a_result_is_plain():
    batch = rows(count=9)
    found = measure(truth, replace(batch, target=truth(batch)))
    assert len(json.loads(json.dumps(asdict(found)))["orders"]) == 3
    assert isinstance(found.orders[0].score, Interval)


def test_too_many_modalities_and_no_target_are_refused():
    many = rows(names="abcdefgh")
    with pytest.raises(DataError, match=r"all combinations of 8 rows can be computed, got 8. Use emap"):
        measure(lambda b: sum(b.inputs.values()), many)
    with pytest.raises(DataError, match="rows must have a target to be scored, got none"):
        measure(truth, Batch(inputs=rows().inputs))
