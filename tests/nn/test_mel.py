"""Log-mel against a reference written frame by frame in NumPy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.errors import DataError, OptionError
from fuseloom.nn import log_mel, mel_filters


def hertz(mel, scale):
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    return 200 / 3 * mel if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def top_mel(rate, scale):
    if scale == "htk":
        return 2595 * math.log10(1 + rate / 2 / 700)
    return 15 + 27 * math.log(rate / 2 / 1000) / math.log(6.4)


def reference(wave, rate, num_mels, window, hop, scale, floor):
    """Every frame cut, weighted and transformed on its own; every triangle built point by point."""
    size = 1
    while size < window:
        size *= 2
    corners = [hertz(top_mel(rate, scale) * i / (num_mels + 1), scale) for i in range(num_mels + 2)]
    padded = np.concatenate([np.zeros(size // 2), wave, np.zeros(size // 2)])
    before = (size - window) // 2
    rows = []
    for frame in range(1 + len(wave) // hop):
        part = np.zeros(size)
        for i in range(window):
            weight = 0.5 - 0.5 * math.cos(2 * math.pi * i / window)
            part[before + i] = weight * padded[frame * hop + before + i]
        power = np.abs(np.fft.rfft(part)) ** 2
        bands = []
        for low, middle, high in zip(corners, corners[1:], corners[2:], strict=False):
            height = 1.0 if scale == "htk" else 2 / (high - low)
            total = 0.0
            for index, value in enumerate(power):
                place = index * rate / size
                if low < place <= middle:
                    total += height * value * (place - low) / (middle - low)
                elif middle < place < high:
                    total += height * value * (high - place) / (high - middle)
            bands.append(math.log(max(total, floor)))
        rows.append(bands)
    return np.array(rows)


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize(("rate", "samples"), [(8000, 1000), (16000, 777), (8000, 3)])
def test_it_is_the_reference(scale, rate, samples):
    wave = np.random.default_rng(0).normal(size=samples) * 0.1
    found = log_mel(torch.from_numpy(wave), rate, num_mels=20, scale=scale)
    expected = reference(wave, rate, 20, round(0.025 * rate), round(0.01 * rate), scale, 1e-6)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@given(tone=st.floats(100, 7000))
def test_a_tone_is_loudest_in_the_band_that_holds_it(scale, tone):
    rate = 16000
    wave = torch.sin(torch.arange(4000, dtype=torch.float64) * (2 * math.pi * tone / rate))
    bands = log_mel(wave, rate, num_mels=30, scale=scale, window_s=0.064)
    loudest = int(bands[10].argmax())
    corners = [hertz(top_mel(rate, scale) * i / 31, scale) for i in range(32)]
    assert corners[loudest] < tone < corners[loudest + 2]


def test_white_noise_is_equally_loud_in_the_bands_of_slaney_alone():
    noise = torch.randn(160000)
    slaney, htk = (log_mel(noise, 16000, num_mels=30, scale=s).exp().mean(0).log() for s in ("slaney", "htk"))
    assert slaney.std() < 0.1
    assert htk[-1] - htk[0] > 1


def test_a_batch_is_its_sounds_and_silence_is_the_floor():
    waves = torch.randn(2, 3, 900)
    waves[1, 2] = 0
    found = log_mel(waves, 8000, num_mels=12, floor=1e-3)
    torch.testing.assert_close(found[0, 1], log_mel(waves[0, 1], 8000, num_mels=12, floor=1e-3))
    torch.testing.assert_close(found[1, 2], torch.full((12, 12), math.log(1e-3)))


def test_twice_the_amplitude_is_log_four_more():
    wave = torch.randn(2000, dtype=torch.float64)
    difference = log_mel(2 * wave, 8000, num_mels=16) - log_mel(wave, 8000, num_mels=16)
    torch.testing.assert_close(difference, torch.full_like(difference, math.log(4)))


def test_gradients_are_exact():
    wave = torch.randn(60, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda w: log_mel(w, 1000, num_mels=4, window_s=0.032, hop_s=0.016), (wave,), atol=1e-4
    )


def test_filters_cover_all_between_the_first_and_the_last_top():
    """Between neighbouring tops, triangles of height one add up to one."""
    filters = mel_filters(10, 257, 16000, scale="htk")
    first, last = int(filters[0].argmax()) + 1, int(filters[-1].argmax())
    torch.testing.assert_close(filters[:, first:last].sum(0), torch.ones(last - first))


def test_what_cannot_be_is_refused():
    with pytest.raises(DataError, match="wave must have at least one sample, got none"):
        log_mel(torch.zeros(2, 0), 8000)
    with pytest.raises(OptionError, match=r"num_mels must be so few .* got 256 over 129 bins"):
        log_mel(torch.zeros(400), 8000, num_mels=256)
    with pytest.raises(OptionError, match="scale must be 'htk' or 'slaney', got 'bark'"):
        mel_filters(8, 129, 8000, scale="bark")
    with pytest.raises(OptionError, match="num_mels must be at least 1, got 0"):
        mel_filters(0, 129, 8000)
    with pytest.raises(OptionError, match="window_s and hop_s must be at least a sample"):
        log_mel(torch.zeros(400), 8000, hop_s=0)
