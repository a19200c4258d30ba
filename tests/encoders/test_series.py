"""Series: what only order, stamps or holes tell is learnt; cutting and strides change nothing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from fuseloom.encoders.series import SeriesEncoder
from fuseloom.errors import ModalityError, OptionError

BODIES = ["conv", "transformer"]


def accuracy_after_training(encoder, draw, *, steps=70):
    """Share of fresh rows classified rightly after a few steps of Adam."""
    model = nn.ModuleList([encoder, nn.Linear(encoder.dims[-1], 2)])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        value, mask, label = draw(64)
        optimizer.zero_grad()
        F.cross_entropy(model[1](encoder(value, mask)[0]), label).backward()
        optimizer.step()
    model.eval()
    value, mask, label = draw(400)
    return (model[1](encoder(value, mask)[0]).argmax(1) == label).float().mean().item()


def rising_or_falling(count):
    """The same numbers in one order or the other, under padding of random length."""
    label = torch.randint(2, (count,))
    rows = torch.sort(torch.randn(count, 12), 1).values
    rows = torch.where(label[:, None] == 1, rows, rows.flip(1))
    length = torch.randint(6, 13, (count, 1))
    return rows[..., None], torch.arange(12) < length, label


def early_or_late(count):
    """Equal values, one per step; only the stamps tell whether steps come faster or slower."""
    label = torch.randint(2, (count,))
    times = torch.arange(12.0) + 0.1 * torch.rand(count, 12)
    times = torch.where(label[:, None] == 1, times, times**2 / 11)
    return torch.stack([torch.ones(count, 12), times], -1), None, label


def missing_or_mean(count):
    """A channel is missing in one class and at its mean in the other."""
    label = torch.randint(2, (count,))
    rows = torch.randn(count, 6, 2)
    rows[..., 0] = torch.where(label[:, None] == 1, torch.nan, 0.0)
    return rows, None, label


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(
    ("draw", "in_dim", "timed"),
    [(rising_or_falling, 1, False), (early_or_late, 2, True), (missing_or_mean, 2, False)],
)
def test_order_stamps_and_holes_are_learnt(body, draw, in_dim, timed):
    encoder = SeriesEncoder(in_dim, dim=16, body=body, timed=timed, dropout=0.0)
    assert accuracy_after_training(encoder, draw) > 0.95


@pytest.mark.parametrize("body", BODIES)
@settings(max_examples=30)
@given(length=st.integers(1, 9), padding=st.integers(0, 5), stride=st.integers(1, 3), timed=st.booleans())
def test_padding_is_the_same_as_cutting(body, length, padding, stride, timed):
    encoder = SeriesEncoder(3, dim=8, body=body, stride=stride, timed=timed, output="tokens").eval()
    rows = torch.randn(2, length, 3)
    padded = torch.cat([rows, torch.full((2, padding, 3), torch.nan)], 1)
    mask = (torch.arange(length + padding) < length).expand(2, -1)
    cut, _ = encoder(rows)
    found, kept = encoder(padded, mask)
    assert kept.sum(1).tolist() == [cut.shape[1]] * 2
    torch.testing.assert_close(found[kept].view(cut.shape), cut, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("output", ["pooled", "tokens"])
def test_a_missing_number_is_neither_zero_nor_a_masked_step(output):
    encoder = SeriesEncoder(2, dim=8, output=output).eval()
    rows = torch.randn(1, 4, 2)
    variants = [rows.clone() for _ in range(3)]
    variants[0][0, 1, 0], variants[1][0, 1, 0], variants[2][0, 1, 0] = torch.nan, 0.0, torch.inf
    mask = torch.ones(1, 4, dtype=torch.bool)
    missing, zero, infinite = (encoder(variant, mask)[0] for variant in variants)
    masked, _ = encoder(variants[0], mask.index_fill(1, torch.tensor([1]), False))
    torch.testing.assert_close(missing, infinite)
    assert (missing - zero).abs().max() > 1e-3
    assert (missing - masked).abs().max() > 1e-3


def test_times_far_out_stay_apart():
    encoder = SeriesEncoder(2, dim=8, timed=True, output="tokens").eval()
    near, far = (torch.tensor([[[1.0, time]]]) for time in (100_000.0, 100_001.0))
    assert (encoder(near)[0] - encoder(far)[0]).abs().max() > 0.01


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.parametrize("body", BODIES)
def test_it_is_exported_for_any_batch_and_length(body):
    encoder = SeriesEncoder(3, dim=16, body=body, timed=True, stride=2, output="tokens").eval()
    batch, length = torch.export.Dim("batch", min=2), torch.export.Dim("length", min=3)
    rows, mask = torch.randn(5, 12, 3), torch.rand(5, 12) < 0.7
    exported = torch.export.export(
        encoder, (rows, mask), dynamic_shapes=({0: batch, 1: length}, {0: batch, 1: length})
    ).module()
    rows, mask = torch.randn(2, 7, 3), torch.rand(2, 7) < 0.7
    torch.testing.assert_close(exported(rows, mask)[0], encoder(rows, mask)[0])


def test_what_cannot_be_is_refused():
    with pytest.raises(OptionError, match="body must be 'conv' or 'transformer', got 'lstm'"):
        SeriesEncoder(3, body="lstm")
    with pytest.raises(OptionError, match="output must be 'pooled' or 'tokens', got 'map'"):
        SeriesEncoder(3, output="map")
    with pytest.raises(OptionError, match="in_dim must count a channel beside the time, got 1"):
        SeriesEncoder(1, timed=True)
    with pytest.raises(OptionError, match="stride must be at least 1, got 0"):
        SeriesEncoder(3, stride=0)
    with pytest.raises(ModalityError, match=r"must have shape \[B, T, 3\] .* got \(2, 5, 4\)"):
        SeriesEncoder(3)(torch.zeros(2, 5, 4))
