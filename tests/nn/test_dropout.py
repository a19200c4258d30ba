import pytest
import torch
from torch import nn

from fuseloom.errors import OptionError
from fuseloom.nn import Dropout
from fuseloom.nn.dropout import DropPath


@pytest.mark.parametrize("p", [0.1, 0.5, 0.875])
@pytest.mark.parametrize("shape", [(400, 500), (7, 31, 923)])
def test_a_share_is_dropped_and_the_mean_is_kept(p, shape):
    dropped = Dropout(p)(torch.ones(shape))
    level = round(256 * p) / 256
    assert (dropped == 0).double().mean().item() == pytest.approx(level, abs=0.005)
    assert dropped.max().item() == pytest.approx(1 / (1 - level))
    assert dropped.mean().item() == pytest.approx(1, abs=0.03)


def test_features_and_rows_are_dropped_independently():
    kept = (Dropout(0.5)(torch.ones(4000, 16)) > 0).double()
    correlation = torch.corrcoef(kept.T) - torch.eye(16)
    assert correlation.abs().max() < 0.08
    neighbours = torch.corrcoef(torch.stack([kept[:-1].flatten(), kept[1:].flatten()]))
    assert neighbours[0, 1].abs() < 0.02


def test_the_gradient_goes_where_the_value_went():
    values = torch.randn(50, 20, requires_grad=True)
    dropped = Dropout(0.5)(values)
    (gradient,) = torch.autograd.grad(dropped.sum(), values)
    torch.testing.assert_close(gradient, torch.where(dropped == 0, 0.0, 2.0))


def test_equal_seeds_drop_the_same():
    values, layer = torch.ones(30, 30), Dropout(0.3)
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(layer(values))
    assert drawn[0].equal(drawn[1])
    assert not drawn[0].equal(drawn[2])


@pytest.mark.parametrize(("p", "result"), [(0.0, 1.0), (1.0, 0.0), (0.001, 1.0)])
def test_certain_cases(p, result):
    assert (Dropout(p)(torch.ones(5, 5)) == result).all()


def test_nothing_is_dropped_in_evaluation():
    values = torch.randn(5, 5)
    assert nn.Sequential(Dropout(0.5)).eval()(values).equal(values)


def test_it_shows_its_probability():
    assert repr(Dropout(0.25)) == "Dropout(p=0.25)"


def test_whole_samples_are_dropped_and_the_others_scaled_up() -> None:
    torch.manual_seed(0)
    values, drop = torch.rand(4000, 3, 2) + 1, DropPath(0.25)
    dropped = drop(values)
    kept = dropped[:, 0, 0] != 0
    assert 0.72 < kept.float().mean() < 0.78
    torch.testing.assert_close(dropped[kept], values[kept] / 0.75)
    assert (dropped[~kept] == 0).all()
    assert drop.eval()(values) is values
    assert DropPath(0.0)(values) is values
    assert repr(drop) == "DropPath(p=0.25)"
    with pytest.raises(OptionError, match=r"p must be in \[0, 1\), got 1"):
        DropPath(1)
