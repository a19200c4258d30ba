"""Convolutions under a mask: padding, holes and absent samples must not exist for them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fuseloom.errors import OptionError
from fuseloom.nn import MaskedConv, MaskedResidual, masked_average, shorten_mask


def lengths_mask(lengths, longest):
    return torch.arange(longest) < torch.tensor(lengths)[:, None]


def make_conv(stride, dilation):
    return MaskedConv(3, 4, axes=1, kernel=2 * stride + 1, stride=stride, dilation=dilation)


def make_block(stride, dilation):
    return MaskedResidual(3, 16, axes=1, stride=stride, dilation=dilation)


@pytest.mark.parametrize("make", [make_conv, make_block])
@given(
    length=st.integers(1, 9),
    padding=st.integers(0, 6),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 3),
)
def test_a_padded_sample_gives_what_the_cut_one_gives(make, length, padding, stride, dilation):
    layer, values = make(stride, dilation), torch.randn(2, 3, length)
    padded = torch.cat([values, torch.full((2, 3, padding), torch.nan)], -1)
    mask = lengths_mask([length, length], length + padding)
    cut, none = layer(values)
    found, short = layer(padded, mask)
    assert none is None
    assert short.sum(1).tolist() == [-(-length // stride)] * 2
    torch.testing.assert_close(found[..., : cut.shape[-1]], cut)


@pytest.mark.parametrize("make", [make_conv, make_block])
def test_a_picture_padded_on_two_sides_gives_what_the_picture_gives(make):
    layer = (
        MaskedConv(3, 4, axes=2, stride=2) if make is make_conv else MaskedResidual(3, 8, axes=2, stride=2)
    )
    picture = torch.randn(1, 3, 5, 3)
    padded, mask = torch.full((1, 3, 8, 7), torch.nan), torch.zeros(1, 8, 7, dtype=torch.bool)
    padded[..., :5, :3], mask[..., :5, :3] = picture, True
    (alone, _), (found, short) = layer(picture), layer(padded, mask)
    assert short[0].nonzero().tolist() == [[row, column] for row in range(3) for column in range(2)]
    torch.testing.assert_close(found[..., :3, :2], alone)


def test_a_convolution_is_torchs_own_over_zeros():
    layer, values = make_conv(2, 1), torch.randn(2, 3, 9)
    mask = torch.rand(2, 9) < 0.6
    plain = nn.Conv1d(3, 4, 5, stride=2, padding=2)
    plain.load_state_dict(layer.conv.state_dict())
    found, short = layer(values.masked_fill(~mask[:, None], torch.inf), mask)
    torch.testing.assert_close(found, plain(values * mask[:, None]))
    assert short.tolist() == [[bool(row[i : i + 2].any()) for i in range(0, 9, 2)] for row in mask]


@given(mask=st.lists(st.booleans(), min_size=1, max_size=11), stride=st.integers(1, 4))
def test_no_real_step_is_passed_over(mask, stride):
    """The gradient of what counts reaches every real step, and no other."""
    values = torch.ones(1, 1, len(mask), requires_grad=True)
    layer = MaskedConv(1, 1, axes=1, kernel=max(1, 2 * stride - 1), stride=stride)
    nn.init.ones_(layer.conv.weight)
    found, short = layer(values, torch.tensor([mask]))
    (gradient,) = torch.autograd.grad((found[:, 0] * short).sum(), values)
    assert (gradient[0, 0] > 0).tolist() == mask


def test_averages_are_those_of_the_real_steps():
    values, mask = torch.randn(2, 3, 7), torch.rand(2, 7) < 0.5
    found = masked_average(values.masked_fill(~mask[:, None], torch.nan), mask, 3)
    for sample in range(2):
        for place, start in enumerate(range(0, 7, 3)):
            kept = values[sample, :, start : start + 3][:, mask[sample, start : start + 3]]
            expected = kept.mean(1) if kept.shape[1] else torch.zeros(3)
            torch.testing.assert_close(found[sample, :, place], expected)
    torch.testing.assert_close(
        masked_average(values, None, 3), masked_average(values, torch.ones_like(mask), 3)
    )


@pytest.mark.parametrize("axes", [1, 2])
def test_gradients_of_a_block_are_exact_and_stay_off_what_is_masked(axes):
    block = MaskedResidual(2, 3, axes=axes, stride=2).double()
    shape = (3, 2, 5) if axes == 1 else (3, 2, 3, 4)
    values = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(3, *shape[2:]) < 0.6
    mask[1] = False
    assert torch.autograd.gradcheck(lambda v: block(v, mask)[0], (values,))
    out, short = block(values, mask)
    (gradient,) = torch.autograd.grad((out * short[:, None]).square().sum(), values)
    assert gradient.movedim(1, -1)[~mask].abs().sum() == 0
    assert not short[1].any()


def test_a_sample_does_not_depend_on_the_others():
    block, values = MaskedResidual(8, 8, axes=1), torch.randn(4, 8, 6)
    mask, order = lengths_mask([6, 2, 0, 4], 6), torch.tensor([2, 0, 3, 1])
    out, _ = block(values, mask)
    torch.testing.assert_close(block(values[order], mask[order])[0], out[order])
    torch.testing.assert_close(block(values[:1], mask[:1])[0], out[:1])


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.parametrize("axes", [1, 2])
def test_a_block_compiles_as_one_graph_for_any_length(axes):
    block = MaskedResidual(4, 8, axes=axes, stride=2)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager", dynamic=True)
    for size in (5, 8):
        values = torch.randn(2, 4, *[size] * axes)
        mask = torch.rand(2, *[size] * axes) < 0.7
        torch.testing.assert_close(compiled(values, mask)[0], block(values, mask)[0])


def test_options_out_of_range_are_refused():
    with pytest.raises(OptionError, match=r"axes must be 1 \(time\) or 2 \(pixels\), got 3"):
        MaskedConv(1, 1, axes=3)
    with pytest.raises(OptionError, match=r"kernel must be odd .* got 3 with a stride of 3"):
        MaskedConv(1, 1, axes=1, kernel=3, stride=3)
    with pytest.raises(OptionError, match=r"kernel must be odd .* got 4"):
        MaskedConv(1, 1, axes=1, kernel=4)


def test_a_mask_of_pixels_is_shortened_along_both_sides():
    mask = torch.zeros(1, 3, 5, dtype=torch.bool)
    mask[0, 2, 4] = True
    assert shorten_mask(mask, 2).tolist() == [[[False] * 3, [False, False, True]]]
