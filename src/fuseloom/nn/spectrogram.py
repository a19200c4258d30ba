"""Spectrograms as published audio-visual systems take them: log magnitudes, and the filter bank of Kaldi."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fuseloom.errors import DataError, OptionError

__all__ = ["kaldi_filterbank", "log_spectrogram"]

_EMPHASIS = 0.97
_LOWEST_HZ = 20.0
_MEL_FACTOR, _MEL_CORNER = 1127.0, 700.0
_FLOOR = torch.finfo(torch.float32).eps


def log_spectrogram(
    wave: Float[Tensor, "*batch sample"], *, size: int = 512, hop: int = 353, floor: float = 1e-7
) -> Float[Tensor, "*batch bin frame"]:
    r"""Logarithm of the magnitude in each bin of a spectrum, frame by frame: ``size // 2 + 1`` bins.

    Frames of ``size`` samples are weighted by a Hann window and stand ``hop`` samples apart; the first is
    centred on the first sample, and silence stands before and behind the sound, so that ``S`` samples give
    ``1 + S // hop`` frames. The defaults are those of OGM-GE and RollingQ for CREMA-D, by librosa 0.10 or
    later (before it mirrored the sound at its ends), where three seconds at 22,050 Hz are 188 frames.

    Args:
        wave: Samples.
        size: Of a frame.
        hop: Samples from one frame to the next.
        floor: Added to the magnitude.

    Raises:
        DataError: a sound without samples.
        OptionError: a size, hop or floor that is not positive.

    Example:
        >>> log_spectrogram(torch.zeros(2, 66150)).shape
        torch.Size([2, 257, 188])
    """
    if min(size, hop) < 1 or floor <= 0:
        raise OptionError(f"size, hop and floor must be positive, got {size}, {hop} and {floor}.")
    flat = _flat(wave)
    padded = F.pad(flat, (size // 2, size // 2))
    hann = torch.hann_window(size, dtype=flat.dtype, device=flat.device)
    found = torch.stft(padded, size, hop_length=hop, window=hann, center=False, return_complex=True)
    return (found.abs() + floor).log().reshape(*wave.shape[:-1], *found.shape[-2:])


def kaldi_filterbank(
    wave: Float[Tensor, "*batch sample"], rate: int, *, num_mels: int = 128
) -> Float[Tensor, "*batch frame mel"]:
    r"""Logarithm of the power in each band of the mel scale, as Kaldi and ``torchaudio.compliance`` have it.

    Frames of 25 ms stand 10 ms apart and lie wholly within the sound, ``1 + (S - window) // hop`` of them,
    none of a shorter one. Each loses its mean and is emphasised, :math:`x_i - 0.97\, x_{i-1}`, weighted by a
    symmetric Hann window and padded to a power of two. Bands are triangles over
    :math:`m = 1127 \ln(1 + f / 700)` from 20 Hz to half the rate, straight on that scale rather than in
    hertz, which is how they differ from those of `log_mel`. Of Kaldi's options these are dither 0, no
    energy, and the window ``hanning``.

    Args:
        wave: Samples.
        rate: Samples per second.
        num_mels: Bands.

    Raises:
        DataError: a sound without samples.
        OptionError: a rate too low for a hop of one sample, or no band.

    Example:
        >>> kaldi_filterbank(torch.zeros(2, 16000), 16000).shape
        torch.Size([2, 98, 128])
    """
    window, hop = int(rate * 0.025), int(rate * 0.01)
    if hop < 1 or num_mels < 1:
        raise OptionError(f"rate must be at least 100 and num_mels positive, got {rate} and {num_mels}.")
    flat = _flat(wave)
    if flat.shape[-1] < window:
        return wave.new_zeros(*wave.shape[:-1], 0, num_mels)
    frames = flat.unfold(-1, window, hop)  # [B, T, window]
    frames = frames - frames.mean(-1, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    hann = torch.hann_window(window, periodic=False, dtype=flat.dtype, device=flat.device)
    size = 2 ** math.ceil(math.log2(window))
    power = torch.fft.rfft((frames - _EMPHASIS * before) * hann, n=size).abs().square()  # [B, T, F]
    bands: Tensor = power @ _triangles(num_mels, size // 2 + 1, rate).to(power).T
    return bands.clamp(min=_FLOOR).log().reshape(*wave.shape[:-1], *bands.shape[-2:])


def _flat(wave: Tensor) -> Tensor:
    if wave.shape[-1] == 0:
        raise DataError("wave must have at least one sample, got none. Leave the file out.")
    return wave.reshape(-1, wave.shape[-1])


def _triangles(num_mels: int, num_bins: int, rate: int) -> Tensor:
    """Weight of each bin in each band ``[M, F]``; the last bin, half the rate, is in none."""
    hertz = torch.linspace(0, rate / 2, num_bins, dtype=torch.float64)
    mels = _to_mel(hertz)
    ends = _to_mel(torch.tensor([_LOWEST_HZ, rate / 2], dtype=torch.float64))
    corners = ends[0] + (ends[1] - ends[0]) * torch.linspace(0, 1, num_mels + 2, dtype=torch.float64)
    step = corners[1] - corners[0]
    triangles: Tensor = (1 - (mels - corners[1:-1, None]).abs() / step).clamp(min=0)
    return triangles


def _to_mel(hertz: Tensor) -> Tensor:
    return _MEL_FACTOR * torch.log1p(hertz / _MEL_CORNER)
