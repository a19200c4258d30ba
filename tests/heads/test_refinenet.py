"""RefineNet's decoder; that it is the published one is told by its golden cases."""

import pytest
import torch

from fuseloom.errors import ModalityError, OptionError
from fuseloom.heads.refinenet import ChainedPooling, RefineNetHead, ResidualUnits

DIMS = [4, 8, 16, 32]


def stages(height: int = 32, width: int = 48) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, dim, -(-height // 2**i), -(-width // 2**i)) for i, dim in enumerate(DIMS)]


def build(**options: float) -> RefineNetHead:
    torch.manual_seed(0)
    return RefineNetHead(DIMS, 5, dim=6, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(32, 48), (33, 41), (8, 8)])
def test_predictions_are_of_the_finest_map(size: tuple[int, int]) -> None:
    assert build().eval()(stages(*size)).shape == (2, 5, *size)


def test_every_stage_and_every_weight_matters() -> None:
    head, maps = build().eval(), [value.requires_grad_() for value in stages()]
    head(maps).square().sum().backward()
    assert all(value.grad is not None and value.grad.abs().max() > 0 for value in maps)
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in head.parameters())


def test_dropout_is_of_training_only() -> None:
    maps = stages()
    head = build(dropout=0.5)
    assert not head(maps).equal(head(maps))
    assert head.eval()(maps).equal(head(maps))


def test_a_unit_adds_what_its_relu_lets_pass() -> None:
    units = ResidualUnits(3, 1)
    with torch.no_grad():
        units.outer[0].weight.zero_()
    values = torch.randn(1, 3, 4, 4)
    assert units(values).equal(values.relu())


def test_pools_are_added_to_what_they_pool() -> None:
    pools = ChainedPooling(2, 3)
    with torch.no_grad():
        for conv in pools.convs:
            conv.weight.zero_()
            conv.weight[[0, 1], [0, 1], 1, 1] = 1.0
    values = torch.zeros(1, 2, 15, 15)
    values[0, :, 7, 7] = 1
    # Windows of 5, 9 and 13 pixels about the one.
    assert pools(values)[0, 0, 7].tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 3, 3, 2, 2, 1, 1, 0]


def test_what_does_not_fit_is_answered() -> None:
    with pytest.raises(ModalityError, match="stages must be 4 maps, got 3"):
        build()(stages()[:3])
    with pytest.raises(OptionError, match=r"two stages at least, got \[4\]"):
        RefineNetHead([4], 5)
    with pytest.raises(OptionError, match="at least 1, got 0 and 256"):
        RefineNetHead(DIMS, 0)
