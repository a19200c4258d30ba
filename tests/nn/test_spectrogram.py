"""Both spectrograms against sums written out in NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.errors import DataError, OptionError
from fuseloom.nn.spectrogram import kaldi_filterbank, log_spectrogram


def drawn(samples: int, *, rows: int = 1) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(rows, samples)))


def test_log_spectrogram_is_the_sum_of_its_definition() -> None:
    wave, size, hop = drawn(100)[0].numpy(), 16, 7
    padded = np.pad(wave, size // 2)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    expected = [
        [
            np.log(
                abs(
                    sum(
                        hann[i] * padded[t * hop + i] * np.exp(-2j * np.pi * k * i / size)
                        for i in range(size)
                    )
                )
                + 1e-7
            )
            for t in range(1 + 100 // hop)
        ]
        for k in range(size // 2 + 1)
    ]
    found = log_spectrogram(torch.from_numpy(wave), size=size, hop=hop)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_kaldi_filterbank_is_the_sum_of_its_definition() -> None:
    rate, mels = 1000, 4
    wave = drawn(60)[0].numpy()
    window, hop, size = 25, 10, 32
    top = 1127 * np.log(1 + rate / 2 / 700)
    low = 1127 * np.log(1 + 20 / 700)
    corners = np.linspace(low, top, mels + 2)
    expected = []
    for start in range(0, 60 - window + 1, hop):
        frame = wave[start : start + window]
        frame = frame - frame.mean()
        frame = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
        frame = frame * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / (window - 1)))
        power = np.abs(np.fft.rfft(frame, size)) ** 2
        bands = np.zeros(mels)
        for band in range(mels):
            for k in range(size // 2 + 1):
                mel = 1127 * np.log(1 + k * rate / size / 700)
                left, middle, right = corners[band : band + 3]
                up, down = (mel - left) / (middle - left), (right - mel) / (right - middle)
                bands[band] += max(0.0, min(up, down)) * power[k]
        expected.append(np.log(np.maximum(bands, np.finfo(np.float32).eps)))
    found = kaldi_filterbank(torch.from_numpy(wave), rate, num_mels=mels)
    assert found.shape == (4, mels)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@given(samples=st.integers(1, 900), hop=st.integers(1, 60))
def test_frames_are_counted_as_stated(samples: int, hop: int) -> None:
    assert log_spectrogram(drawn(samples), size=32, hop=hop).shape[-1] == 1 + samples // hop
    frames = kaldi_filterbank(drawn(samples), 4000, num_mels=3).shape[-2]
    assert frames == (0 if samples < 100 else 1 + (samples - 100) // 40)


def test_sounds_of_a_batch_do_not_touch() -> None:
    waves = drawn(500, rows=3)
    for function in (log_spectrogram, lambda wave: kaldi_filterbank(wave, 8000, num_mels=5)):
        torch.testing.assert_close(function(waves), torch.stack([function(wave) for wave in waves]))


def test_loudness_is_a_shift_and_a_constant_no_sound() -> None:
    wave = drawn(2000)
    quiet, loud = (kaldi_filterbank(scale * wave, 8000, num_mels=6) for scale in (1.0, 10.0))
    torch.testing.assert_close(loud - quiet, torch.full_like(quiet, 2 * np.log(10)))
    torch.testing.assert_close(kaldi_filterbank(wave + 5, 8000, num_mels=6), quiet, atol=1e-6, rtol=1e-6)


def test_a_tone_is_loudest_in_its_bin() -> None:
    tone = torch.sin(2 * np.pi * 40 / 512 * torch.arange(4000, dtype=torch.float64))
    assert set(log_spectrogram(tone)[:, 2:-2].argmax(0).tolist()) == {40}


@pytest.mark.parametrize("function", [log_spectrogram, lambda wave: kaldi_filterbank(wave, 8000)])
def test_a_sound_without_samples_is_refused(function: object) -> None:
    with pytest.raises(DataError, match=r"wave must have at least one sample, got none\."):
        function(torch.zeros(2, 0))  # type: ignore[operator]


@pytest.mark.parametrize("options", [{"size": 0}, {"hop": 0}, {"floor": 0.0}], ids=str)
def test_sizes_must_be_positive(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="size, hop and floor must be positive, got"):
        log_spectrogram(torch.ones(5), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("rate", "mels"), [(99, 4), (8000, 0)])
def test_rate_and_bands_must_be_enough(rate: int, mels: int) -> None:
    with pytest.raises(
        OptionError, match=rf"rate must be at least 100 and num_mels positive, got {rate} and"
    ):
        kaldi_filterbank(torch.ones(500), rate, num_mels=mels)
