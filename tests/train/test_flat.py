import pytest
import torch
from torch import nn

from fuseloom.errors import OptionError
from fuseloom.train.fit import FitConfig, make_optimizer
from fuseloom.train.flat import Share, flat_parameters, parameter_shares


def model():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    layers[0].bias.requires_grad_(False)
    return layers


def test_steps_on_the_flat_parameters_are_steps_of_the_model():
    flat, plain, values = model(), model(), torch.randn(5, 3)
    other = torch.optim.AdamW([value for value in plain.parameters() if value.requires_grad], lr=0.1)
    with flat_parameters(flat) as parameters:
        assert len(parameters) == 1
        optimizer = torch.optim.AdamW(list(parameters), lr=0.1)
        for _ in range(3):
            for one, steps in ((flat, optimizer), (plain, other)):
                steps.zero_grad(set_to_none=False)
                one(values).square().sum().backward()
                steps.step()
    for name, value in flat.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name])


def test_behind_the_context_parameters_are_on_their_own():
    layers = model()
    with flat_parameters(layers) as (whole,):
        assert layers[0].weight.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
        assert layers[0].weight.grad is not None
    places = {value.untyped_storage().data_ptr() for value in layers.parameters()}
    assert len(places) == 4
    assert all(value.grad is None for value in layers.parameters())


def test_one_tensor_for_each_dtype():
    layers = model()
    layers[2].double()
    with flat_parameters(layers) as parameters:
        assert {value.dtype: value.numel() for value in parameters} == {torch.float32: 12, torch.float64: 10}


def test_each_part_learns_at_its_own_rate():
    flat, plain, values = model(), model(), torch.randn(5, 3)
    rates, config = {"2": 10.0, "0": 0.5}, FitConfig(lr=0.01)
    others = [{"params": [plain[0].weight], "lr": 0.005}, {"params": plain[2].parameters(), "lr": 0.1}]
    other = torch.optim.AdamW(others, weight_decay=config.weight_decay)
    with flat_parameters(flat, rates) as parameters:
        assert sorted(share.rate for share in parameters.values()) == [0.5, 10.0]
        optimizer = make_optimizer(parameters, config)
        for _ in range(3):
            for one, steps in ((flat, optimizer), (plain, other)):
                steps.zero_grad(set_to_none=False)
                one(values).square().sum().backward()
                steps.step()
    for name, value in flat.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name])


def test_the_innermost_part_that_is_named_decides():
    layers = nn.ModuleDict({"head": nn.ModuleDict({"crf": nn.Linear(2, 3), "linear": nn.Linear(2, 5)})})
    with flat_parameters(layers, {"head.crf": 3.0, "head": 2.0}) as parameters:
        assert {share.rate: value.numel() for value, share in parameters.items()} == {3.0: 9, 2.0: 15}


@pytest.mark.parametrize("option", ["rates", "no_decay"])
def test_a_part_that_is_not_there_is_refused(option):
    said = {"rates": {"hed": 2.0}, "no_decay": {"hed": "norms"}}[option]
    with (
        pytest.raises(
            OptionError, match=rf"{option} must name parts of the model, got 'hed'\. Did you mean 'head'"
        ),
        flat_parameters(nn.ModuleDict({"head": nn.Linear(2, 3)}), **{option: said}),
    ):
        pass


def parts():
    block = nn.ModuleDict({"norm": nn.BatchNorm2d(3), "convolution": nn.Conv2d(3, 3, 1)})
    return nn.ModuleDict({"encoder": block, "head": nn.ModuleDict({"norm": nn.LayerNorm(3)})})


def undecayed(model, no_decay):
    shares = parameter_shares(model, None, no_decay)
    return {name for name, value in model.named_parameters() if not shares[value].decays}


NORM = {"encoder.norm.weight", "encoder.norm.bias"}


@pytest.mark.parametrize(
    ("no_decay", "wanted"),
    [
        ({}, set()),
        ({"encoder": "norms"}, NORM),
        ({"encoder": "vectors"}, NORM | {"encoder.convolution.bias"}),
        ({"encoder": "all"}, NORM | {"encoder.convolution.bias", "encoder.convolution.weight"}),
        ({"encoder": "all", "encoder.convolution": "none"}, NORM),
        ({"": "norms", "encoder": "none"}, {"head.norm.weight", "head.norm.bias"}),
        ({"*": "all", "*.norm": "none"}, {"encoder.convolution.weight", "encoder.convolution.bias"}),
        ({"*.norm": "norms", "head.norm": "none"}, NORM),
    ],
)
def test_weight_decay_leaves_alone_what_is_said_of_the_innermost_part(no_decay, wanted):
    assert undecayed(parts(), no_decay) == wanted


def test_what_does_not_decay_steps_as_in_a_group_of_its_own():
    flat, plain, values = model(), model(), torch.randn(5, 3)
    config = FitConfig(lr=0.01, weight_decay=0.5, rates={"2": 3.0}, no_decay={"2": "vectors"})
    others = [
        {"params": [plain[0].weight]},
        {"params": [plain[2].weight], "lr": 0.03},
        {"params": [plain[2].bias], "lr": 0.03, "weight_decay": 0.0},
    ]
    other = torch.optim.AdamW(others, lr=config.lr, weight_decay=config.weight_decay)
    with flat_parameters(flat, config.rates, config.no_decay) as parameters:
        assert set(parameters.values()) == {Share(), Share(rate=3.0), Share(rate=3.0, decays=False)}
        optimizer = make_optimizer(parameters, config)
        for _ in range(3):
            for one, steps in ((flat, optimizer), (plain, other)):
                steps.zero_grad(set_to_none=False)
                one(values).square().sum().backward()
                steps.step()
    for name, value in flat.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name])
