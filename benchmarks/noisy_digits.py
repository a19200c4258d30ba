"""Digits seen and heard, each row of either at a level of noise of its own; for `remedies.py`."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.data import encode, fit_preprocessors, load
from fuseloom.data.av_digits import AVDigits, make_av_digits
from fuseloom.data.media import Sound, read_audio, read_item
from fuseloom.nn import masked_mean
from fuseloom.part import zero_masked
from fuseloom.types import Batch

__all__ = ["LEVELS", "NoisyDigits", "noisy_digits"]

LEVELS = (0.5, 1.0, 2.0)
"""The worst noise there is: its deviation, where black to white is 1, and where the sound's own is 1."""
_ROWS = 4800
_USED = {"train": 600, "valid": 300, "test": 800}
_BANDS, _SECONDS, _STEPS = 32, 0.6, 12
_LOUDNESS = 0.1


@dataclass(frozen=True, kw_only=True)
class NoisyDigits:
    """Rows of one draw: fourteen rows of a picture and twelve moments of a sound, as tokens."""

    splits: Mapping[str, Batch]
    better: NDArray[np.float64]
    """Noise of the sound less noise of the picture in each test row, each as a share of the worst."""
    encoders: Mapping[str, Mapping[str, Any]]
    classes: tuple[str, ...]


def noisy_digits(folder: Path, *, worst: float, seed: int) -> NoisyDigits:
    """Draw pairs and, for each picture and each sound, a level of noise between none and the worst.

    No picture and no recording is in two splits.

    Args:
        folder: As of `make_av_digits`.
        worst: The largest deviation of the noise.
        seed: Of pairs, levels and noise.
    """
    made = make_av_digits(folder, rows=_ROWS, held_out="recordings", seed=seed)
    generator = np.random.default_rng(seed)
    kept = {name: np.flatnonzero(made.split == name)[:most] for name, most in _USED.items()}
    rows = np.concatenate(list(kept.values()))
    level = generator.uniform(0, worst, (2, len(rows)))
    tokens = {
        "image": _picture_tokens(made, rows, level[0], generator),
        "audio": _sound_tokens(made, rows, level[1], generator),
    }
    classes = tuple(sorted(set(made.target.tolist())))
    target = torch.tensor([classes.index(name) for name in made.target[rows].tolist()])
    whole, places, start = Batch(inputs=tokens, target=target), {}, 0
    for name, some in kept.items():
        places[name] = slice(start, start + len(some))
        start += len(some)
    return NoisyDigits(
        splits={name: whole.take(place) for name, place in places.items()},
        better=((level[1] - level[0]) / worst)[places["test"]],
        encoders={name: {"kind": "embedding", "in_dim": value.shape[-1]} for name, value in tokens.items()},
        classes=classes,
    )


def _picture_tokens(
    made: AVDigits, rows: NDArray[np.intp], level: NDArray[np.float64], generator: np.random.Generator
) -> Tensor:
    """Fourteen rows of pixels ``[N, 14, 14]``, each the mean of four noisy ones, and their places."""
    pixels = np.asarray(made.image[rows], dtype=np.float64) / 255
    noisy = pixels + generator.normal(size=pixels.shape) * level[:, None, None]
    small = noisy.reshape(len(rows), 14, 2, 14, 2).mean((2, 4))
    return _placed(torch.from_numpy(small.astype(np.float32)))


def _sound_tokens(
    made: AVDigits, rows: NDArray[np.intp], level: NDArray[np.float64], generator: np.random.Generator
) -> Tensor:
    """Twelve moments of 32 bands ``[N, 12, 32]``, each the mean of the frames in it, and a place."""
    sounds = []
    for row, amount in zip(rows.tolist(), level.tolist(), strict=True):
        samples, rate = _recording(made.audio[row])
        hiss = generator.normal(size=len(samples)) * amount * _LOUDNESS
        sounds.append(Sound(samples=(samples + hiss).astype(np.float32), rate=rate))
    data = load({"audio": sounds, "target": made.target[rows]}, target="target")
    settings = {"audio": {"mels": _BANDS, "seconds": _SECONDS}}
    inputs, masks = encode(data, fit_preprocessors(data, np.arange(len(rows)), settings))
    frames, mask = inputs["audio"], masks["audio"]
    frames = zero_masked(frames - masked_mean(frames, mask)[:, None], mask)
    whole = frames.shape[1] // _STEPS * _STEPS
    return _placed(frames[:, :whole].unflatten(1, (_STEPS, -1)).mean(2))


@lru_cache(maxsize=4000)
def _recording(file: Path) -> tuple[NDArray[np.float64], int]:
    """A recording at the common loudness."""
    samples, rate = read_item(read_audio, file)
    power = float(np.square(samples, dtype=np.float64).mean())
    return samples * (_LOUDNESS / max(power, 1e-12) ** 0.5), rate


def _placed(tokens: Tensor) -> Tensor:
    """With its place beside each token, which an attention that pools would not see otherwise."""
    count = tokens.shape[1]
    return torch.cat([tokens, torch.eye(count).expand(len(tokens), -1, -1)], dim=-1)
