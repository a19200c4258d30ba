import torch
from torch import nn

from fuseloom import Batch
from fuseloom.comparison.measure import PeakMemory, count_parameters, latency_ms, training_memory_mb
from fuseloom.tasks.regression import Regression


class _Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1000, 1)
        self.frozen = nn.Parameter(torch.zeros(5), requires_grad=False)

    def forward(self, inputs, masks=None, *, trace=None):
        return self.layer(inputs["x"].relu())


def test_peak_counts_what_lives_at_once_not_what_was_made():
    given = torch.ones(1000)  # 4,000 bytes, made outside
    with PeakMemory() as memory:
        for _ in range(5):
            kept = given + 1
        both = kept + given
    assert memory.peak == 2 * 4000  # a result and the one it replaces
    assert memory.live == 2 * 4000
    del kept, both


def test_views_cost_nothing():
    given = torch.ones(10, 10)
    with PeakMemory() as memory:
        given.T[:5].reshape(5, 10).view(5, 10)[:2]
    assert memory.peak <= 5 * 10 * 4


def test_training_memory_holds_activations_gradients_and_parameters_and_changes_nothing():
    model = _Model()
    rows = Batch(inputs={"x": torch.ones(64, 1000)}, target=torch.arange(64.0))
    before = model.layer.weight.detach().clone()
    state = torch.get_rng_state()
    found = training_memory_mb(model, rows, Regression(0.0, 1.0))
    activation, gradient = 64 * 1000 * 4 / 1e6, 1000 * 4 / 1e6
    assert activation + gradient < found < 3 * activation
    assert model.layer.weight.equal(before)
    assert model.layer.weight.grad is None
    assert torch.get_rng_state().equal(state)


def test_only_what_trains_is_counted():
    assert count_parameters(_Model()) == 1001


def test_latency_is_of_one_row():
    seen = []
    model = _Model()
    model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0]["x"])))
    assert latency_ms(model, Batch(inputs={"x": torch.ones(9, 1000)})) > 0
    assert set(seen) == {1}
