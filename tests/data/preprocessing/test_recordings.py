import sys

import numpy as np
import pytest
import torch

from fuseloom.data.dataset import Audio
from fuseloom.data.media import Sound
from fuseloom.data.preprocessing import AudioPreprocessor
from fuseloom.errors import MissingExtraError
from fuseloom.nn.mel import log_mel

MELS = 20


def tone(hertz: float, rate: int = 8000, seconds: float = 1.0) -> Sound:
    return Sound(np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate) / 2, rate)


def recordings(*items: Sound | None) -> Audio:
    held = np.empty(len(items), dtype=object)
    held[:] = items
    return Audio(items=held)


def frames(*items: Sound | None, **options) -> tuple[np.ndarray, np.ndarray]:
    """Log-mel frames before they are standardised."""
    fitted = AudioPreprocessor(rate=8000, samples=8000, mels=MELS, mean=(0.0,) * MELS, std=(1.0,) * MELS)
    return fitted._frames(recordings(*items))


def test_frames_are_those_of_the_spectrogram_standardised_over_real_ones() -> None:
    items = [tone(300), tone(700, seconds=0.5), None]
    fitted = AudioPreprocessor.fit(recordings(*items), np.arange(3), mels=MELS)
    values, mask = fitted.apply(recordings(*items))
    assert mask.sum(1).tolist() == [101, 51, 0]
    raw = log_mel(torch.from_numpy(np.float32(items[0].samples)), 8000, num_mels=MELS).numpy()
    expected = np.clip((raw - np.array(fitted.mean)) / np.array(fitted.std), -10, 10)
    np.testing.assert_allclose(values[0], expected, atol=1e-4)
    np.testing.assert_allclose(values[mask].mean(0), 0, atol=1e-3)
    assert not values[~mask].any()
    assert fitted.encoder_options() == {"num_mels": MELS}


@pytest.mark.parametrize("rate", [4000, 11025, 16000, 44100])
def test_a_tone_keeps_its_pitch_and_length_at_any_rate(rate: int) -> None:
    own, _ = frames(tone(440))
    other, mask = frames(tone(440, rate))
    assert other.mean(1).argmax() == own.mean(1).argmax()
    assert other[0, 20:80].mean(0).argmax() == own[0, 20:80].mean(0).argmax()
    np.testing.assert_allclose(other[0, 50].max(), own[0, 50].max(), atol=0.2)
    assert abs(int(mask.sum()) - 101) <= 1


def test_the_commonest_rate_and_the_longest_training_recording_are_learnt() -> None:
    items = [tone(300), tone(300, 16000), tone(300, seconds=0.25), tone(300, seconds=2)]
    fitted = AudioPreprocessor.fit(recordings(*items), np.arange(3), mels=MELS)
    assert (fitted.rate, fitted.samples) == (8000, 8000)
    assert fitted.notes == ("1 of 4 recordings are cut after 1.0 s",)
    assert fitted.apply(recordings(items[3]))[1].sum() == 101


def test_a_limit_in_seconds_is_kept_and_told() -> None:
    items = recordings(tone(300), tone(300, seconds=0.2))
    fitted = AudioPreprocessor.fit(items, np.arange(2), mels=MELS, seconds=0.5)
    assert fitted.samples == 4000
    assert fitted.notes == ("1 of 2 recordings are cut after 0.5 s",)


def test_training_rows_without_a_recording_still_give_a_shape() -> None:
    fitted = AudioPreprocessor.fit(recordings(None, tone(300)), np.array([0]), mels=MELS)
    values, mask = fitted.apply(recordings(None))
    assert (values.shape[-1], mask.any()) == (MELS, False)
    assert np.isfinite(fitted.mean).all()


def test_another_rate_needs_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.signal", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fuseloom\[workbench\]'"):
        frames(tone(300, 16000))
