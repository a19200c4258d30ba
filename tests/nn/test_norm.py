"""Statistics of what is real alone."""

import pytest
import torch
from torch.nn import functional as F

from fuseloom.errors import OptionError
from fuseloom.nn import MaskedGroupNorm, masked_group_norm


@pytest.mark.parametrize("space", [(7,), (3, 4)])
@pytest.mark.parametrize("num_groups", [1, 2, 6])
def test_it_is_the_group_norm_of_the_real_values_alone(space, num_groups):
    values = torch.randn(4, 6, *space) * 3 + 10
    mask = torch.rand(4, *space) < 0.5
    mask[:, 0], mask[3] = True, False
    found = masked_group_norm(values.masked_fill(~mask[:, None], torch.nan), mask, num_groups=num_groups)
    for sample in range(3):
        alone = values[sample][:, mask[sample]][None]  # [1, C, kept]
        expected = F.group_norm(alone, num_groups)[0]
        torch.testing.assert_close(found[sample][:, mask[sample]], expected, rtol=1e-4, atol=1e-4)
    assert found.movedim(1, -1)[~mask].eq(0).all()
    everything = torch.ones_like(mask)
    torch.testing.assert_close(
        masked_group_norm(values, everything, num_groups=num_groups),
        masked_group_norm(values, num_groups=num_groups),
        rtol=1e-4,
        atol=1e-4,
    )


def test_the_layer_scales_and_shifts_real_values_alone():
    norm, values = MaskedGroupNorm(16), torch.randn(2, 16, 5)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
    mask = torch.tensor([[True, True, False, True, False], [False] * 5])
    found = norm(values, mask)
    plain = masked_group_norm(values, mask, num_groups=2) * norm.weight[:, None] + norm.bias[:, None]
    torch.testing.assert_close(found, plain * mask[:, None])
    torch.testing.assert_close(norm(values, torch.ones_like(mask)), norm(values), rtol=1e-4, atol=1e-5)


def test_gradients_are_exact_and_finite_where_nothing_is_real():
    values = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, False, True, True, False], [False] * 5, [False, True, False, False, False]])
    assert torch.autograd.gradcheck(lambda v: masked_group_norm(v, mask, num_groups=2), (values,))


def test_low_precision_keeps_its_type_and_is_computed_in_float32():
    values, mask = torch.randn(2, 8, 40) + 30, torch.ones(2, 40, dtype=torch.bool)
    low = masked_group_norm(values.bfloat16(), mask)
    assert low.dtype == torch.bfloat16
    exact = masked_group_norm(values.bfloat16().float(), mask)
    torch.testing.assert_close(low.float(), exact, rtol=0.01, atol=0.01)


@pytest.mark.parametrize(("dim", "groups"), [(1, 1), (8, 1), (13, 1), (16, 2), (24, 3), (64, 8), (100, 4)])
def test_default_groups_divide_the_width_and_hold_eight_channels(dim, groups):
    assert MaskedGroupNorm(dim).num_groups == groups
    assert groups == 1 or dim // groups >= 8


def test_groups_that_do_not_divide_are_refused():
    with pytest.raises(OptionError, match="num_groups must divide dim=6, got 4"):
        MaskedGroupNorm(6, num_groups=4)
