import pytest
import torch

from fuseloom import Batch, create
from fuseloom.diagnose.model_layers import model_layers
from fuseloom.diagnose.shared_space import pooled
from fuseloom.encoders.identity import IdentityEncoder
from fuseloom.errors import ModalityError
from fuseloom.heads import LinearHead
from fuseloom.models import FusionModel


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def exchanging(**options):
    torch.manual_seed(0)
    dims = {"a": 6, "b": 6}
    encoders = {name: IdentityEncoder(width) for name, width in dims.items()}
    exchanges = {0: [create("cross_attention", dims, **options), create("cross_attention", dims)]}
    return FusionModel(encoders, create("sum", dims), LinearHead(6, 2), exchanges=exchanges)


def tokens(count=10):
    mask = torch.arange(4) < torch.randint(0, 5, (count, 1), generator=torch.Generator().manual_seed(1))
    inputs = {"a": normal(count, 4, 6), "b": normal(count, 4, 6, seed=1)}
    return Batch(inputs=inputs, masks={"a": mask})


def test_layers_of_a_model_are_its_streams_around_each_exchange():
    model, rows = exchanging(), tokens()
    found = model_layers(model, rows, batch_size=4)
    assert list(found) == [
        f"{side} exchange {key}" for key in ("0", "0_1") for side in ("before", "after")
    ] + ["before merge"]
    first, second = model.exchanges.values()
    with torch.no_grad():
        streams = rows.inputs
        expected = {"before exchange 0": streams}
        streams = expected["after exchange 0"] = first.eval()(streams, rows.masks)
        expected["before exchange 0_1"] = streams
        expected["after exchange 0_1"] = expected["before merge"] = second.eval()(streams, rows.masks)
    for layer, batch in found.items():
        for name, value in batch.inputs.items():
            means, there = pooled(expected[layer][name], rows.masks.get(name))
            torch.testing.assert_close(value, means)
            assert batch.masks[name].equal(there)


def test_the_model_is_left_as_it_was():
    model = exchanging(dropout=0.5).train()
    model.exchanges["0"].eval()
    modes = [module.training for module in model.modules()]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    one, other = model_layers(model, tokens()), model_layers(model, tokens())
    assert all(one[layer].inputs["a"].equal(other[layer].inputs["a"]) for layer in one)
    assert [module.training for module in model.modules()] == modes
    assert all(value.equal(weights[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.get_rng_state().equal(state)


def test_the_model_is_left_as_it_was_where_it_fails():
    model = exchanging().train()
    with pytest.raises(ModalityError, match="Missing modality"):
        model_layers(model, Batch(inputs={"a": torch.ones(2, 4, 6)}))
    assert not any(module._forward_hooks for module in model.modules())
    assert all(module.training for module in model.modules())


def test_a_class_token_can_be_left_out():
    rows = tokens()
    other = rows.inputs["a"].clone()
    other[:, 0] += 1
    changed = Batch(inputs={**rows.inputs, "a": other}, masks=rows.masks)
    one, two = (model_layers(exchanging(), given, prefix=1)["before exchange 0"] for given in (rows, changed))
    assert one.inputs["a"].equal(two.inputs["a"])
    means, there = pooled(rows.inputs["a"][:, 1:], rows.masks["a"][:, 1:])
    torch.testing.assert_close(one.inputs["a"], means)
    assert one.masks["a"].equal(there)
