"""Sound: pitch and order are learnt; cutting, padding and the three outputs agree."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from fuseloom.encoders.audio import AudioEncoder
from fuseloom.errors import ModalityError, OptionError
from fuseloom.nn import log_mel

RATE = 8000


def standard(waves):
    frames = log_mel(waves, RATE, num_mels=20)
    return (frames - frames.mean()) / frames.std()


def high_or_low(count):
    """A tone in noise, of a random loudness: above or below 1000 Hz."""
    label = torch.randint(2, (count,))
    pitch = torch.where(label == 1, 1300.0, 500.0) + 400 * torch.rand(count)
    phase = torch.arange(1200) * (2 * math.pi / RATE) * pitch[:, None]
    loudness = 0.05 + torch.rand(count, 1)
    return standard(loudness * phase.sin() + 0.02 * torch.randn(count, 1200)), label


def rising_or_falling(count):
    """A sweep and its mirror image: as many moments of every pitch."""
    label = torch.randint(2, (count,))
    pitch = torch.linspace(400, 2400, 2400) + 300 * torch.rand(count, 1)
    waves = (torch.cumsum(pitch, 1) * (2 * math.pi / RATE)).sin() + 0.02 * torch.randn(count, 2400)
    return standard(torch.where(label[:, None] == 1, waves, waves.flip(1))), label


@pytest.mark.parametrize("draw", [high_or_low, rising_or_falling])
def test_pitch_and_order_are_learnt(draw):
    encoder = AudioEncoder(20, dim=16, dropout=0.0)
    model = nn.ModuleList([encoder, nn.Linear(16, 2)])
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(40):
        frames, label = draw(48)
        optimizer.zero_grad()
        F.cross_entropy(model[1](encoder(frames)[0]), label).backward()
        optimizer.step()
    model.eval()
    frames, label = draw(200)
    assert (model[1](encoder(frames)[0]).argmax(1) == label).float().mean() > 0.95


@settings(max_examples=30)
@given(length=st.integers(1, 20), padding=st.integers(0, 9), stride=st.integers(1, 2))
def test_padding_is_the_same_as_cutting(length, padding, stride):
    encoder = AudioEncoder(13, dim=8, stride=stride, output="tokens").eval()
    frames = torch.randn(2, length, 13)
    padded = torch.cat([frames, torch.full((2, padding, 13), torch.nan)], 1)
    cut, _ = encoder(frames)
    found, kept = encoder(padded, (torch.arange(length + padding) < length).expand(2, -1))
    assert kept.sum(1).tolist() == [-(-length // (4 * stride))] * 2
    torch.testing.assert_close(found[kept].view(cut.shape), cut, rtol=1e-4, atol=1e-5)


def test_a_map_keeps_frequency_apart():
    encoder = AudioEncoder(20, dim=8, output="map").eval()
    frames, mask = torch.randn(2, 10, 20), torch.arange(10) < torch.tensor([[10], [4]])
    value, kept = encoder(frames, mask)
    assert value.shape == (2, 8, 2, 3)
    assert kept.tolist() == [[[True] * 3, [True] * 3], [[True] * 3, [False] * 3]]
    assert (value[..., 0] - value[..., 1]).abs().max() > 0.01


@pytest.mark.slow
@pytest.mark.compile
def test_it_is_exported_for_any_batch_and_length():
    encoder = AudioEncoder(20, dim=16, output="tokens").eval()
    batch, length = torch.export.Dim("batch", min=2), torch.export.Dim("length", min=9)
    frames, mask = torch.randn(5, 24, 20), torch.rand(5, 24) < 0.7
    exported = torch.export.export(
        encoder, (frames, mask), dynamic_shapes=({0: batch, 1: length}, {0: batch, 1: length})
    ).module()
    frames, mask = torch.randn(2, 11, 20), torch.rand(2, 11) < 0.7
    torch.testing.assert_close(exported(frames, mask)[0], encoder(frames, mask)[0])


def test_what_cannot_be_is_refused():
    with pytest.raises(OptionError, match="output must be 'pooled', 'tokens' or 'map', got 'bands'"):
        AudioEncoder(20, output="bands")
    with pytest.raises(OptionError, match="num_mels and stride must be at least 1, got 20 and 0"):
        AudioEncoder(20, stride=0)
    with pytest.raises(ModalityError, match=r"must have shape \[B, T, 20\] .* got \(2, 5, 40\)"):
        AudioEncoder(20)(torch.zeros(2, 5, 40))
