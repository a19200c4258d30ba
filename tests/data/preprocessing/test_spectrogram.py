"""What the published audio preprocessing makes of recordings, as a preprocessor."""

import numpy as np
import pytest
import torch

from fuseloom.data import Sound, encode, fit_preprocessors, load
from fuseloom.data.dataset import Audio
from fuseloom.data.preprocessing import FilterbankPreprocessor, SpectrogramPreprocessor
from fuseloom.nn.spectrogram import kaldi_filterbank, log_spectrogram

ROWS = np.arange(2)


def audio(*sounds: Sound | None) -> Audio:
    items = np.empty(len(sounds), dtype=object)
    items[:] = sounds
    return Audio(items=items)


def sound(seconds: float, rate: int = 22_050, scale: float = 0.3) -> Sound:
    wave = np.random.default_rng(0).normal(scale=scale, size=round(seconds * rate))
    return Sound(samples=wave.astype(np.float32), rate=rate)


def test_three_repeats_are_cut_to_three_seconds_and_clipped() -> None:
    long = sound(1.4, scale=2.0)
    values, mask = SpectrogramPreprocessor.fit(audio(long), ROWS[:1]).apply(audio(long))
    shown = np.concatenate([long.samples] * 3)[:66_150].clip(-1, 1)
    assert values.shape == (1, 188, 257)
    np.testing.assert_allclose(values[0], log_spectrogram(torch.from_numpy(shown)).T, atol=1e-5)
    assert mask.all()


def test_a_short_recording_fills_fewer_frames() -> None:
    rows = audio(sound(0.7), None, sound(2.0))
    values, mask = SpectrogramPreprocessor.fit(rows, ROWS).apply(rows)
    assert mask.sum(1).tolist() == [1 + 3 * 15_435 // 353, 0, 188]
    assert (values[~mask] == 0).all()
    assert (values[mask].std(-1) > 0.1).all()


def test_another_rate_is_resampled() -> None:
    tone = np.sin(2 * np.pi * 3000 * np.arange(16_000) / 16_000).astype(np.float32)
    rows = audio(Sound(samples=tone, rate=16_000))
    values, mask = SpectrogramPreprocessor.fit(rows, ROWS[:1]).apply(rows)
    assert mask.all()
    assert set(values[0, 5:50].argmax(-1).tolist()) == {round(3000 / 22_050 * 512)}


def test_filterbanks_lose_the_mean_and_are_padded_before_they_are_scaled() -> None:
    one, other = sound(0.5, rate=8000), sound(0.3, rate=16_000)
    rows = audio(one, None, other)
    values, mask = FilterbankPreprocessor.fit(rows, ROWS, frames=40, mels=20).apply(rows)
    for row, item in ((0, one), (2, other)):
        bands = kaldi_filterbank(torch.from_numpy(item.samples - item.samples.mean()), item.rate, num_mels=20)
        expected = (bands[:40].numpy() + 4.503877) / (2 * 5.141276)
        assert mask[row].sum() == len(expected)
        np.testing.assert_allclose(values[row, : len(expected)], expected, rtol=1e-5)
    assert not mask[1].any()
    np.testing.assert_allclose(values[~mask], 4.503877 / 10.282552, rtol=1e-6)


@pytest.mark.parametrize(("kind", "shape"), [("spectrogram", (4, 188, 257)), ("filterbank", (4, 1024, 128))])
def test_they_are_chosen_by_name_and_rebuilt_from_their_state(kind: str, shape: tuple[int, ...]) -> None:
    voices = [sound(0.2 * (1 + row), rate=8000) for row in range(4)]
    rows = load({"voice": voices, "other": np.ones((4, 2))}, target=[0, 1, 0, 1])
    fitted = fit_preprocessors(rows, np.arange(3), {"voice": {"kind": kind}})
    inputs, _ = encode(rows, fitted)
    assert tuple(inputs["voice"].shape) == shape
    assert fitted["voice"].encoder_options() == {"num_mels": shape[-1]}
    again = type(fitted["voice"]).from_state(fitted["voice"].state())
    np.testing.assert_array_equal(again.apply(rows.modalities["voice"])[0], inputs["voice"].numpy())
