import pytest
import torch
from torch import nn

from fuseloom.errors import OptionError
from fuseloom.nn.growing import GrowingStack


def stack(count=3):
    torch.manual_seed(0)
    return GrowingStack([nn.Linear(4, 4) for _ in range(count)])


def test_layers_run_one_more_at_a_time():
    growing, x = stack(), torch.randn(2, 4)
    expected = x
    for depth, layer in enumerate(growing.layers, 1):
        expected = layer(expected)
        assert growing.depth == depth
        assert growing(x).equal(expected)
        if depth < 3:
            growing.grow()
    with pytest.raises(OptionError, match="depth must be below 3, the number of layers, to grow"):
        growing.grow()


def test_what_it_is_given_besides_goes_to_each_layer():
    class Adds(nn.Module):
        def forward(self, value, other, *, times):
            return value + times * other

    growing = GrowingStack([Adds(), Adds()])
    growing.grow()
    assert float(growing(torch.tensor(1.0), torch.tensor(2.0), times=3)) == 13


def test_layers_that_do_not_run_have_no_gradient():
    growing = stack()
    growing(torch.randn(2, 4)).sum().backward()
    assert [layer.weight.grad is None for layer in growing.layers] == [False, True, True]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_checkpoint_tells_how_many_run(depth):
    saved, x = stack(), torch.randn(2, 4)
    for _ in range(depth - 1):
        saved.grow()
    for grown in (0, 2):
        fresh = stack()
        for _ in range(grown):
            fresh.grow()
        fresh.load_state_dict(saved.state_dict())
        assert fresh.depth == depth
        assert fresh(x).equal(saved(x))


def test_a_checkpoint_of_a_deeper_stack_is_refused():
    deep = stack(4)
    for _ in range(3):
        deep.grow()
    with pytest.raises(RuntimeError, match="size mismatch for grown"):
        stack(3).load_state_dict(deep.state_dict(), strict=False)


def test_there_must_be_a_layer():
    with pytest.raises(OptionError, match="layers must be one or more, got none"):
        GrowingStack([])
