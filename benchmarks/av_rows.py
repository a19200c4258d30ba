"""Rows of the audio-visual digits, dealt to splits, made harder to tell, and encoded; for `av_digits.py`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.data import encode, fit_preprocessors, load
from fuseloom.data.av_digits import AVDigits, make_av_digits
from fuseloom.data.media import Sound, read_audio, read_item
from fuseloom.nn import masked_mean
from fuseloom.part import zero_masked
from fuseloom.tasks.classification import Classification
from fuseloom.types import Batch

__all__ = ["BANDS", "PLANS", "Deal", "Plan", "deals"]

BANDS = 32
_SETTINGS: Mapping[str, Mapping[str, Any]] = {"audio": {"mels": BANDS, "seconds": 0.6}}
_LOUDNESS = 0.1
"""Root mean square of every recording; as recorded, one speaker is fifteen times as loud as another."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which rows there are, and how hard they are."""

    held_out: Literal["recordings", "speakers"]
    rows: int
    """Of all splits."""
    most: Mapping[str, int]
    """Rows that are used of each split."""
    noise: Mapping[str, float]
    """Options of `make_av_digits`."""
    faster: float = 1.0
    """Training recordings are played at a speed between one over this and this, which moves pitch too."""
    epochs: int
    """Passes over the training rows at most, of the models of one modality."""
    seeds: int
    """Runs of each model on each deal."""


PLANS: Mapping[str, Plan] = {
    "recordings": Plan(
        held_out="recordings",
        rows=8400,
        most={"train": 2000, "valid": 500, "test": 1400},
        noise={"image_noise": 0.58, "audio_snr_db": -2.0},
        epochs=18,
        seeds=8,
    ),
    "speakers": Plan(
        held_out="speakers",
        rows=3000,
        most={"train": 2000, "valid": 500, "test": 500},
        noise={"image_noise": 0.5},
        faster=1.25,
        epochs=8,
        seeds=1,
    ),
}
"""What no two splits share -> the rows."""


@dataclass(frozen=True, kw_only=True)
class Deal:
    """Encoded rows of one deal, ready for training."""

    splits: Mapping[str, Batch]
    units: NDArray[np.object_]
    """What the test rows are drawn by ``[N]``: their recording, or their speaker where those are held out."""
    task: Classification


def deals(folder: Path, plan: Plan) -> Iterator[Deal]:
    """One deal of recordings, or as many of speakers as it takes to test each of them once."""
    yield from (_deal(folder, plan, seed) for seed in _seeds(folder, plan))


def _seeds(folder: Path, plan: Plan) -> Iterator[int]:
    """Seeds of deals that test different speakers."""
    if plan.held_out == "recordings":
        yield 0
        return
    tested: set[str] = set()
    for seed in count():
        made = make_av_digits(folder, seed=seed)
        own = set(made.speaker[made.split == "test"].tolist())
        if not own <= tested:
            yield seed
        tested |= own
        if tested == set(made.speaker.tolist()):
            return


def _deal(folder: Path, plan: Plan, seed: int) -> Deal:
    made = make_av_digits(folder, rows=plan.rows, held_out=plan.held_out, seed=seed, **plan.noise)
    kept = {name: np.flatnonzero(made.split == name)[:most] for name, most in plan.most.items()}
    data = load(_rows(made, np.concatenate(list(kept.values())), plan.faster))
    assert data.split is not None
    assert data.target is not None
    places = {name: np.flatnonzero(data.split == name) for name in kept}
    inputs, masks = encode(data, fit_preprocessors(data, places["train"], _SETTINGS))
    inputs["audio"] = _centred(inputs["audio"], masks["audio"])
    task = Classification.learn(data.target)
    every = Batch(inputs=inputs, masks=masks, target=torch.from_numpy(task.encode(data.target)))
    heard = np.array([name.rpartition("-")[0] for name in made.ids], dtype=object)
    return Deal(
        splits={name: every.take(torch.from_numpy(own)) for name, own in places.items()},
        units=(made.speaker if plan.held_out == "speakers" else heard)[kept["test"]],
        task=task,
    )


def _centred(frames: Tensor, mask: Tensor) -> Tensor:
    """Each band less its mean over the recording: the colour of a voice and a room goes, words stay."""
    return zero_masked(frames - masked_mean(frames, mask)[:, None], mask)


def _rows(made: AVDigits, kept: NDArray[np.intp], faster: float) -> dict[str, Any]:
    """Some of the rows, all equally loud, and those for training played faster or slower."""
    generator = np.random.default_rng(0)
    speeds = faster ** generator.uniform(-1, 1, len(kept))
    speeds[made.split[kept] != "train"] = 1.0
    return {
        "image": made.image[kept],
        "audio": [_played(made.audio[row], speed) for row, speed in zip(kept, speeds, strict=True)],
        "target": made.target[kept],
        "split": made.split[kept],
    }


def _played(recording: Path | Sound, speed: float) -> Sound:
    """A recording at another speed and at the common loudness."""
    samples, rate = read_item(read_audio, recording)
    # A length in proportion, the ends on the ends: linear interpolation between samples.
    there = np.linspace(0, len(samples) - 1, max(2, round(len(samples) / speed)))
    played = np.interp(there, np.arange(len(samples)), samples)
    power = np.square(played).mean()
    return Sound(samples=(played * (_LOUDNESS / max(power, 1e-12) ** 0.5)).astype(np.float32), rate=rate)
