"""Recordings."""

from collections import Counter
from dataclasses import dataclass
from math import gcd
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from fuseloom.data.dataset import Audio
from fuseloom.data.media import read_audio, read_item
from fuseloom.data.preprocessing._base import Encoded, Preprocessor, moments, standardised, usable_std
from fuseloom.errors import MissingExtraError
from fuseloom.nn.mel import log_mel

__all__ = ["AudioPreprocessor", "resampled"]

_LOOKED_AT = 512
_LONGEST_S = 20.0
_HOP_S = 0.01


@dataclass(frozen=True, kw_only=True)
class AudioPreprocessor(Preprocessor):
    """Log-mel frames ``[N, T, mels]``, standardised per band; ``T`` is that of the longest training one.

    Recordings are resampled to the rate that most training recordings have; longer ones are cut.
    """

    kind = "audio"
    reads = "audio"
    rows_at_once: ClassVar[int] = 64
    rate: int
    """Samples per second."""
    samples: int
    """Of the longest recording that is kept whole."""
    mels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fit(
        cls, modality: Audio, rows: NDArray[np.intp], *, mels: int = 64, seconds: float = _LONGEST_S
    ) -> Self:
        """Learn rate, length (at most ``seconds``) and the moments of each band; count what is cut."""
        there = [row for row, item in enumerate(modality.items) if item is not None]
        lengths = {row: _length(modality.items[row]) for row in there}
        known = set(rows.tolist()) & lengths.keys()
        rate = Counter(lengths[row][1] for row in sorted(known)).most_common(1)[0][0] if known else 16_000
        last = max((lengths[row][0] / lengths[row][1] for row in known), default=1.0)
        kept = max(1, round(min(last, seconds) * rate))
        cut = sum(round(count / own * rate) > kept for count, own in lengths.values())
        notes = (f"{cut} of {len(modality)} recordings are cut after {kept / rate:.1f} s",) if cut else ()
        raw = cls(rate=rate, samples=kept, mels=mels, mean=(0.0,) * mels, std=(1.0,) * mels, notes=notes)
        shown = np.array(sorted(known)[:: max(1, len(known) // _LOOKED_AT)], dtype=np.intp)
        values, mask = raw._frames(modality.take(shown))
        mean, std = moments(values, mask)
        return cls(
            rate=rate,
            samples=kept,
            mels=mels,
            mean=tuple(mean.tolist()),
            std=usable_std(std, mean),
            notes=notes,
        )

    def apply(self, modality: Audio) -> Encoded:
        """Frames ``[N, T, mels]``, zero behind the end, and their mask ``[N, T]``."""
        values, mask = self._frames(modality)
        values[mask] = standardised(values[mask], np.array(self.mean), np.array(self.std))
        values[~mask] = 0.0
        return values, mask

    def encoder_options(self) -> dict[str, Any]:
        """Number of bands."""
        return {"num_mels": self.mels}

    def _frames(self, modality: Audio) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        waves = np.zeros((len(modality), self.samples), dtype=np.float32)
        counts = np.zeros(len(modality), dtype=np.intp)
        for row, item in enumerate(modality.items):
            if item is not None:
                wave = resampled(*read_item(read_audio, item), to=self.rate)[: self.samples]
                waves[row, : len(wave)], counts[row] = wave, len(wave)
        values = log_mel(torch.from_numpy(waves), self.rate, num_mels=self.mels, hop_s=_HOP_S).numpy()
        frames = np.where(counts > 0, 1 + counts // round(_HOP_S * self.rate), 0)
        return values, np.arange(values.shape[1]) < frames[:, None]


def _length(item: Any) -> tuple[int, int]:
    wave, rate = read_item(read_audio, item)
    return len(wave), rate


def resampled(wave: NDArray[np.float32], rate: int, *, to: int) -> NDArray[np.float32]:
    """The sound at another rate, by a polyphase filter.

    Args:
        wave: Samples ``[S]``.
        rate: How many there are per second.
        to: How many there shall be.

    Raises:
        MissingExtraError: the rates differ, and SciPy is not installed.
    """
    if rate == to:
        return wave
    try:
        from scipy.signal import resample_poly
    except ImportError:
        raise MissingExtraError(
            "Resampling recordings needs SciPy. Install it with: pip install 'fuseloom[workbench]'"
        ) from None
    common = gcd(rate, to)
    return np.asarray(resample_poly(wave, to // common, rate // common), dtype=np.float32)
