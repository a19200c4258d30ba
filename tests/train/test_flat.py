import torch
from torch import nn

from fuseloom.train.flat import flat_parameters


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
        optimizer = torch.optim.AdamW(parameters, lr=0.1)
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
