"""Log-mel spectrograms, by `torch.stft` and a filter bank of our own."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fuseloom.errors import DataError, OptionError

__all__ = ["log_mel", "mel_filters"]

_HTK_FACTOR, _HTK_CORNER = 2595.0, 700.0
_SLANEY_STEP, _SLANEY_CORNER, _SLANEY_OCTAVE = 200.0 / 3, 1000.0, 27 / math.log(6.4)


def log_mel(
    wave: Float[Tensor, "*batch sample"],
    rate: int,
    *,
    num_mels: int = 64,
    window_s: float = 0.025,
    hop_s: float = 0.01,
    scale: str = "slaney",
    floor: float = 1e-6,
) -> Float[Tensor, "*batch frame mel"]:
    """Natural logarithm of the power in each band of the mel scale, frame by frame.

    Frames are weighted by a Hann window and stand ``hop_s`` apart; the first is centred on the first sample,
    and silence stands before and behind the sound. A sound of ``S`` samples has ``1 + S // hop`` frames.

    Args:
        wave: Samples in [-1, 1].
        rate: Samples per second.
        num_mels: Bands, from 0 to half the rate.
        window_s: Length of a frame in seconds.
        hop_s: Seconds from one frame to the next.
        scale: As in `mel_filters`.
        floor: Power below which all is silence.

    Raises:
        DataError: a sound without samples.
        OptionError: a window or hop shorter than a sample, or as for `mel_filters`.

    Example:
        >>> second = torch.sin(torch.arange(16000) * (2 * math.pi * 440 / 16000))
        >>> log_mel(second, 16000, num_mels=40).shape
        torch.Size([101, 40])
    """
    window, hop = round(window_s * rate), round(hop_s * rate)
    if min(window, hop) < 1 or floor <= 0:
        raise OptionError(
            f"window_s and hop_s must be at least a sample of 1/{rate} s and floor above 0, got {window_s}, "
            f"{hop_s} and {floor}."
        )
    if wave.shape[-1] == 0:
        raise DataError("wave must have at least one sample, got none. Leave the file out.")
    size = 2 ** math.ceil(math.log2(window))
    filters = mel_filters(num_mels, size // 2 + 1, rate, scale=scale).to(wave)
    hann = torch.hann_window(window, dtype=wave.dtype, device=wave.device)
    # Padded here, as torch.stft's own padding would need sounds longer than half a frame.
    padded = F.pad(wave.reshape(-1, wave.shape[-1]), (size // 2, size // 2))
    waves = torch.stft(
        padded, size, hop_length=hop, win_length=window, window=hann, center=False, return_complex=True
    )
    power = waves.real.square() + waves.imag.square()  # [B, F, T]
    bands = (filters @ power).clamp(min=floor).log().transpose(-1, -2)
    return bands.reshape(*wave.shape[:-1], *bands.shape[-2:])


def mel_filters(
    num_mels: int, num_bins: int, rate: int, *, scale: str = "slaney"
) -> Float[Tensor, "mel bin"]:
    r"""Triangles over the bins of a spectrum, evenly spread on the mel scale from 0 to half the rate.

    ``htk`` is the scale of the Hidden Markov Toolkit, with triangles of height one:

    .. math:: m = 2595 \log_{10}(1 + f / 700)

    ``slaney`` is that of Slaney's Auditory Toolbox, with triangles of area one over Hz, so that white noise
    is equally loud in all bands. It is linear below 1000 Hz and logarithmic above:

    .. math:: m = 3 f / 200 \text{ below}, \quad m = 15 + 27 \ln(f / 1000) / \ln 6.4 \text{ above}

    Args:
        num_mels: Triangles.
        num_bins: Bins from 0 Hz to half the rate, both included.
        rate: Samples per second.
        scale: ``htk`` or ``slaney``.

    Raises:
        OptionError: an unknown scale, or so many bands that one of them holds no bin.

    Example:
        >>> mel_filters(3, 9, 16000, scale="htk").argmax(1)
        tensor([1, 2, 4])
    """
    if scale not in ("htk", "slaney"):
        raise OptionError(f"scale must be 'htk' or 'slaney', got {scale!r}.")
    if num_mels < 1:
        raise OptionError(f"num_mels must be at least 1, got {num_mels}.")
    top = torch.tensor(rate / 2, dtype=torch.float64)
    marks = torch.linspace(0, 1, num_mels + 2, dtype=torch.float64) * _to_mel(top, scale)
    corners = _to_hz(marks, scale)  # [M + 2]
    bins = torch.linspace(0, rate / 2, num_bins, dtype=torch.float64)
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    filters = torch.minimum(rising, falling).clamp(min=0)
    if not bool(filters.any(1).all()):
        raise OptionError(
            f"num_mels must be so few that each band holds a bin, got {num_mels} over {num_bins} bins. "
            "Take fewer bands or a longer window."
        )
    return (filters if scale == "htk" else filters * (2 / (high - low))).float()


def _to_mel(hertz: Tensor, scale: str) -> Tensor:
    if scale == "htk":
        return _HTK_FACTOR * torch.log10(1 + hertz / _HTK_CORNER)
    above = _SLANEY_CORNER / _SLANEY_STEP + _SLANEY_OCTAVE * torch.log(hertz / _SLANEY_CORNER)
    return torch.where(hertz < _SLANEY_CORNER, hertz / _SLANEY_STEP, above)


def _to_hz(mels: Tensor, scale: str) -> Tensor:
    if scale == "htk":
        return _HTK_CORNER * (10 ** (mels / _HTK_FACTOR) - 1)
    corner = _SLANEY_CORNER / _SLANEY_STEP
    above = _SLANEY_CORNER * torch.exp((mels - corner) / _SLANEY_OCTAVE)
    return torch.where(mels < corner, mels * _SLANEY_STEP, above)
