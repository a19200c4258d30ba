import copy

import pytest
import torch
from torch import nn

from fuseloom.errors import OptionError
from fuseloom.nn.growing import GrowingStack
from fuseloom.nn.turned_query import fold_queries, turned_by
from fuseloom.train.class_adapters import adapt
from fuseloom.train.progressive_rolling import ProgressiveRolling

TOKENS = {"audio": slice(1, 4), "video": slice(4, None)}
DEPTH = 3


class Model(nn.Module):
    """A class token over tokens, read behind the last layer that runs."""

    def __init__(self):
        super().__init__()
        layers = [nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True) for _ in range(DEPTH)]
        self.stack, self.head = GrowingStack(layers), nn.Linear(8, 2)

    def forward(self, tokens):
        return self.head(self.stack(tokens)[:, 0])


def made(**options):
    torch.manual_seed(0)
    rolling = ProgressiveRolling(
        find=lambda model: model.stack,
        adapt=lambda layer: adapt(layer.self_attn, TOKENS),
        **{"epochs": 1} | options,
    )
    model = rolling.attach(Model())
    return model, rolling, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def rows():
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(6, 9, 8, generator=generator), torch.randint(2, (6,), generator=generator))
        for _ in range(3)
    ]


def train(model, rolling, optimizer, epochs):
    for _ in range(epochs):
        model.train()
        for step, (x, y) in enumerate(rows()):
            with rolling.watching(model, step, 3):
                loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        rolling.end_epoch(model, (model(x) for x, _ in rows()))


def turns(model):
    return [len(turned_by(layer.self_attn)) for layer in model.stack.layers]


def test_each_layer_is_turned_while_it_is_the_last():
    model, rolling, optimizer = made(epochs=2, max_rotations=1)
    seen = []
    for _ in range(2 * DEPTH + 1):
        seen.append((model.stack.depth, turns(model)))
        train(model, rolling, optimizer, 1)
    assert seen == [
        (1, [0, 0, 0]),
        (1, [1, 0, 0]),
        (2, [1, 0, 0]),
        (2, [1, 1, 0]),
        (3, [1, 1, 0]),
        (3, [1, 1, 1]),
        (3, [1, 1, 1]),
    ]
    assert [[roll.decision for roll in layer.log] for layer in rolling.layers] == [
        ["rotated", "enough"],
        ["rotated", "enough"],
        ["rotated", "enough", "enough"],
    ]


def test_layers_to_come_stay_as_they_are():
    model, rolling, optimizer = made()
    before = copy.deepcopy(model.stack.layers[2].state_dict())
    train(model, rolling, optimizer, 2)
    assert model.stack.depth == DEPTH
    for name, value in model.stack.layers[2].state_dict().items():
        assert value.equal(before[name])
    train(model, rolling, optimizer, 1)
    assert not model.stack.layers[2].linear1.weight.equal(before["linear1.weight"])


def test_a_run_that_goes_on_ends_as_one_that_never_stopped():
    model, rolling, optimizer = made(max_rotations=2, epochs=2)
    train(model, rolling, optimizer, 5)
    first, early, own = made(max_rotations=2, epochs=2)
    train(first, early, own, 3)
    second, late, other = made(max_rotations=2, epochs=2)
    second.load_state_dict(first.state_dict())
    other.load_state_dict(own.state_dict())
    late.load_state_dict(early.state_dict())
    assert second.stack.depth == 2
    train(second, late, other, 2)
    for name, value in model.state_dict().items():
        assert value.equal(second.state_dict()[name]), name
    assert [layer.log for layer in late.layers] == [layer.log for layer in rolling.layers]


def test_all_layers_fold():
    model, rolling, optimizer = made()
    train(model, rolling, optimizer, DEPTH)
    x = rows()[0][0]
    before = model.eval()(x)
    plain = Model().eval()
    plain.load_state_dict(fold_queries(model).state_dict())
    torch.testing.assert_close(plain(x), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"window": 0}, "window must be at least 1, got 0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        made(**options)
