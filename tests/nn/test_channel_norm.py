"""Norms of channels whose statistics are those of what is real alone."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fuseloom.nn.channel_norm import ChannelLayerNorm, MaskedBatchNorm, MaskedInstanceNorm


def drawn(norm):
    """The norm with a scale and a shift that are not the first ones."""
    with torch.no_grad():
        norm.weight.uniform_(-2, 2)
        norm.bias.uniform_(-1, 1)
    return norm


def half(*space):
    mask = torch.rand(5, *space) < 0.5
    mask.view(5, -1)[0, 0] = True
    mask[3] = False
    return mask


def flat(values, mask):
    return values.movedim(1, -1)[mask]  # [real, C]


@pytest.mark.parametrize("space", [(), (7,), (3, 4)])
def test_batch_norm_is_that_of_the_real_values_alone(space):
    norm, plain = drawn(MaskedBatchNorm(6)), nn.BatchNorm1d(6)
    plain.load_state_dict({**norm.state_dict(), "num_batches_tracked": torch.tensor(0)})
    for _ in range(3):
        values, mask = (torch.randn(5, 6, *space) * 3 + 1).requires_grad_(), half(*space)
        mask[1] = True
        found = norm(values.masked_fill(~mask[:, None], torch.nan), mask)
        expected = plain(flat(values, mask))
        torch.testing.assert_close(flat(found, mask), expected)
        assert flat(found, ~mask).eq(0).all()
        cotangent = torch.randn_like(expected)
        ours, theirs = (
            torch.autograd.grad(out, [values, *part.parameters()], cotangent)
            for out, part in ((flat(found, mask), norm), (expected, plain))
        )
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(norm.running_mean, plain.running_mean)
    torch.testing.assert_close(norm.running_var, plain.running_var)
    found = norm.eval()(values, mask)
    torch.testing.assert_close(flat(found, mask), plain.eval()(flat(values, mask)))
    assert flat(found, ~mask).eq(0).all()


def test_batch_norm_without_a_mask_is_that_of_torch_and_of_a_full_mask():
    values = torch.randn(4, 3, 5)
    whole, masked, plain = MaskedBatchNorm(3), MaskedBatchNorm(3), nn.BatchNorm1d(3)
    expected = plain(values)
    torch.testing.assert_close(whole(values), expected)
    torch.testing.assert_close(masked(values, torch.ones(4, 5, dtype=torch.bool)), expected)
    for norm in (whole, masked):
        torch.testing.assert_close(norm.running_mean, plain.running_mean)
        torch.testing.assert_close(norm.running_var, plain.running_var)


def test_a_batch_without_real_values_leaves_the_statistics():
    norm = drawn(MaskedBatchNorm(3))
    found = norm(torch.full((2, 3, 4), torch.nan), torch.zeros(2, 4, dtype=torch.bool))
    assert found.eq(0).all()
    assert norm.running_mean.eq(0).all()
    assert norm.running_var.eq(1).all()


@pytest.mark.parametrize("mask", [None, torch.ones(1, dtype=torch.bool)])
def test_a_single_value_is_its_own_mean_and_says_nothing_of_the_variance(mask):
    norm = drawn(MaskedBatchNorm(3))
    values = torch.tensor([[1.0, 2.0, 3.0]])
    torch.testing.assert_close(norm(values, mask), norm.bias[None])
    torch.testing.assert_close(norm.running_mean, values[0] / 10)
    assert norm.running_var.eq(1).all()


@pytest.mark.parametrize("space", [(7,), (3, 4)])
def test_instance_norm_is_that_of_the_real_values_of_each_sample(space):
    norm, values, mask = drawn(MaskedInstanceNorm(4)), torch.randn(5, 4, *space) + 2, half(*space)
    found = norm(values.masked_fill(~mask[:, None], torch.nan), mask)
    for sample in (0, 1, 2, 4):
        if mask[sample].sum() > 1:
            alone = values[sample][:, mask[sample]][None]
            expected = F.instance_norm(alone, weight=norm.weight, bias=norm.bias)[0]
            torch.testing.assert_close(found[sample][:, mask[sample]], expected, rtol=1e-4, atol=1e-4)
    assert flat(found, ~mask).eq(0).all()
    torch.testing.assert_close(norm(values), F.instance_norm(values, weight=norm.weight, bias=norm.bias))
    torch.testing.assert_close(norm(values), norm(values, torch.ones_like(mask)), rtol=1e-4, atol=1e-4)


def test_instance_norm_of_a_single_position_is_the_shift():
    norm = drawn(MaskedInstanceNorm(4))
    torch.testing.assert_close(norm(torch.randn(1, 4, 1)), norm.bias[None, :, None], rtol=0, atol=1e-4)


@pytest.mark.parametrize("space", [(), (7,), (3, 4)])
def test_layer_norm_is_that_of_each_position_over_its_channels(space):
    norm, values, mask = drawn(ChannelLayerNorm(6)), torch.randn(5, 6, *space), half(*space)
    found = norm(values.masked_fill(~mask[:, None], torch.nan), mask)
    expected = F.layer_norm(flat(values, mask), (6,), norm.weight, norm.bias)
    torch.testing.assert_close(flat(found, mask), expected)
    assert flat(found, ~mask).eq(0).all()
    torch.testing.assert_close(flat(norm(values), mask), expected)


def test_a_step_may_norm_one_batch_whole_and_another_in_part():
    norm, values = MaskedBatchNorm(3), torch.randn(4, 3, 2, 2, requires_grad=True)
    some = torch.ones(4, 2, 2, dtype=torch.bool)
    (norm(values) + norm(2 * values, some)).sum().backward()
    assert values.grad is not None
