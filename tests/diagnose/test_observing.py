import pytest
import torch
from torch import nn

from fuseloom.diagnose.observing import observed


def look(model):
    with observed(model):
        assert not any(part.training for part in model.modules())
        torch.rand(3)
        raise ZeroDivisionError


def test_modes_and_generators_are_given_back_even_after_an_error():
    model = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))
    model[1].eval()
    state = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        look(model)
    assert [part.training for part in model.modules()] == [True, True, False, False]
    assert torch.get_rng_state().equal(state)
