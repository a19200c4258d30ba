"""Recordings as the audio-visual systems of the field take them: log magnitudes, or Kaldi's filter bank."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from fuseloom.data.dataset import Audio
from fuseloom.data.media import read_audio, read_item
from fuseloom.data.preprocessing._base import Encoded, Preprocessor
from fuseloom.data.preprocessing.audio import resampled
from fuseloom.nn.spectrogram import kaldi_filterbank, log_spectrogram

__all__ = ["FilterbankPreprocessor", "SpectrogramPreprocessor"]

_REPEATS = 3
_SECONDS = 3
_SIZE, _HOP = 512, 353
_MEAN, _SCALE = -4.503877, 2 * 5.141276


@dataclass(frozen=True, kw_only=True)
class SpectrogramPreprocessor(Preprocessor):
    """Log magnitudes over time ``[N, 188, 257]`` of three seconds, as OGM-GE and RollingQ take CREMA-D.

    A recording is resampled to ``rate`` (by a polyphase filter, there by soxr), repeated three times, cut to
    three seconds and clipped to [-1, 1]; nothing is standardised. One shorter than a second fills fewer
    frames, of which the official code makes no batch: here the others are zero and masked.
    """

    kind = "spectrogram"
    reads = "audio"
    rows_at_once: ClassVar[int] = 64
    rate: int

    @classmethod
    def fit(cls, modality: Audio, rows: NDArray[np.intp], *, rate: int = 22_050) -> Self:
        """Nothing is learnt."""
        return cls(rate=rate)

    def apply(self, modality: Audio) -> Encoded:
        """Frames ``[N, T, 257]``, zero behind the end, and their mask ``[N, T]``."""
        frames = 1 + _SECONDS * self.rate // _HOP
        values = np.zeros((len(modality), frames, _SIZE // 2 + 1), dtype=np.float32)
        mask = np.zeros((len(modality), frames), dtype=np.bool_)
        for row, item in enumerate(modality.items):
            if item is not None:
                wave = resampled(*read_item(read_audio, item), to=self.rate)
                shown = np.clip(np.tile(wave, _REPEATS)[: _SECONDS * self.rate], -1, 1)
                found = log_spectrogram(torch.from_numpy(shown), size=_SIZE, hop=_HOP).T.numpy()
                values[row, : len(found)], mask[row, : len(found)] = found, True
        return values, mask

    def encoder_options(self) -> dict[str, Any]:
        """Number of bins."""
        return {"num_mels": _SIZE // 2 + 1}


@dataclass(frozen=True, kw_only=True)
class FilterbankPreprocessor(Preprocessor):
    """Kaldi's filter bank ``[N, frames, 128]``, as OGM-GE and RollingQ take Kinetics-Sounds.

    A recording loses its mean and keeps its own rate. What is behind its end is padded before the
    numbers are shifted and scaled, as in the official code, so it is about 0.438 rather than 0; it is masked.
    """

    kind = "filterbank"
    reads = "audio"
    rows_at_once: ClassVar[int] = 64
    frames: int
    mels: int

    @classmethod
    def fit(cls, modality: Audio, rows: NDArray[np.intp], *, frames: int = 1024, mels: int = 128) -> Self:
        """Nothing is learnt."""
        return cls(frames=frames, mels=mels)

    def apply(self, modality: Audio) -> Encoded:
        """Frames ``[N, T, mels]`` and their mask ``[N, T]``."""
        values = np.zeros((len(modality), self.frames, self.mels), dtype=np.float32)
        mask = np.zeros((len(modality), self.frames), dtype=np.bool_)
        for row, item in enumerate(modality.items):
            if item is not None:
                wave, rate = read_item(read_audio, item)
                bands = kaldi_filterbank(torch.from_numpy(wave - wave.mean()), rate, num_mels=self.mels)
                found = bands[: self.frames].numpy()
                values[row, : len(found)], mask[row, : len(found)] = found, True
        return (values - _MEAN) / _SCALE, mask

    def encoder_options(self) -> dict[str, Any]:
        """Number of bands."""
        return {"num_mels": self.mels}
