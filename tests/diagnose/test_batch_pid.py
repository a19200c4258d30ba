import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from fuseloom import Batch
from fuseloom.data.interactions import make_interactions
from fuseloom.diagnose.batch_pid import AlignedInformation, AlignmentNetwork, BatchPidConfig, batch_pid
from fuseloom.errors import DataError, OptionError

SMALL = BatchPidConfig(hidden=16, layers=1, epochs=30, align_epochs=5, batch_size=100, lr=3e-3)


def halves(seed=0, count=1200, **amounts):
    data = make_interactions(count, seed=seed, width=4, **amounts)
    _, target = np.unique(data.target.astype(str), return_inverse=True)
    inputs = {name: torch.from_numpy(values) for name, values in data.streams.items()}
    rows = Batch(inputs=inputs, target=torch.from_numpy(target))
    return rows.take(slice(0, count * 2 // 3)), rows.take(slice(count * 2 // 3, count))


def numbers(found):
    return [found.redundant.mean, *(one.mean for one in found.unique.values()), found.synergistic.mean]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("amounts", "largest"),
    [
        ({"redundant": 1.0, "synergistic": 0.0}, 0),
        ({"unique": (1.0, 0.0), "synergistic": 0.0}, 1),
        ({"unique": (0.0, 1.0), "synergistic": 0.0}, 2),
        ({"synergistic": 1.0}, 3),
    ],
    ids=["redundant", "first", "second", "synergistic"],
)
def test_the_largest_part_is_the_one_that_was_put_in(amounts, largest):
    train, rows = halves(count=3000, **amounts)
    found = numbers(batch_pid(train, rows, config=SMALL))
    assert int(np.argmax(found)) == largest
    assert found[largest] > 0.6
    assert max(abs(one) for place, one in enumerate(found) if place != largest) < 0.35


def test_the_parts_add_up_to_what_the_networks_know():
    """Whatever the alignment, two of the parts are the information in one source's predictions."""
    generator = torch.Generator().manual_seed(0)
    predictions = [torch.rand(6, 3, generator=generator).softmax(-1) for _ in range(3)]
    frequencies = torch.tensor([0.2, 0.3, 0.5])
    found = AlignedInformation.of(torch.rand(3, 6, 6, generator=generator) + 0.1, predictions, frequencies)
    redundant, first, second, _ = found.parts
    known = [(p * (p / frequencies).log()).sum(-1).mean() for p in predictions]
    torch.testing.assert_close(redundant + first, known[0])
    torch.testing.assert_close(redundant + second, known[1])
    torch.testing.assert_close(found.parts.sum(), known[2])


def test_only_the_alignment_is_learnt():
    network = AlignmentNetwork((2, 3), 2, hidden=4, layers=1, dim=3)
    expert = torch.nn.Linear(2, 2)
    first, second = torch.randn(5, 2), torch.randn(5, 3)
    predictions = [expert(first).softmax(-1).detach()] * 3
    AlignedInformation.of(network(first, second), predictions, torch.full((2,), 0.5)).loss.backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in network.parameters())


def test_the_same_seed_gives_the_same_and_nothing_is_changed():
    train, rows = halves(count=450)
    config = BatchPidConfig(hidden=4, layers=1, epochs=2, align_epochs=1, batch_size=50)
    state = torch.get_rng_state()
    found = batch_pid(train, rows, config=config, seed=1)
    assert found == batch_pid(train, rows, config=config, seed=1)
    assert found != batch_pid(train, rows, config=config, seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert (found.num_batches, found.batch_size, found.unit) == (3, 50, "bits")
    assert found.redundant.low <= found.redundant.mean <= found.redundant.high
    json.dumps(asdict(found))
    nats = batch_pid(train, rows, config=config, seed=1, unit="nats")
    assert nats.redundant.mean == pytest.approx(found.redundant.mean * np.log(2))


def test_gradients_may_be_switched_off_around_it():
    train, rows = halves(count=450)
    config = BatchPidConfig(hidden=4, layers=1, epochs=1, align_epochs=1, batch_size=50)
    with torch.no_grad():
        found = batch_pid(train, rows, config=config)
    assert found == batch_pid(train, rows, config=config)


def test_one_batch_has_no_interval():
    train, rows = halves(count=300)
    config = BatchPidConfig(hidden=4, layers=1, epochs=1, align_epochs=1, batch_size=100)
    found = batch_pid(train, rows, config=config)
    assert (found.num_batches, found.redundant.low, found.redundant.high) == (1, None, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"dim": 1}, "dim must be at least 2, got 1"),
        ({"lr": 0.0}, "lr must be above 0, got 0.0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    train, rows = halves(count=300)
    with pytest.raises(OptionError, match=message):
        batch_pid(train, rows, config=BatchPidConfig(**options))


def test_too_few_rows_are_refused():
    train, rows = halves(count=300)
    with pytest.raises(DataError, match="train and rows must each fill a batch of 256, got 100 rows"):
        batch_pid(train, rows)
