"""Two vision models of timm that talk between their stages: one sees a digit, one sees how it sounds.

The sound is a spectrogram, so that a model for pictures reads it. Weights are random: nothing is downloaded.
Run it: python examples/07_exchange_between_stages.py [FOLDER OF av-digits]
Without a folder, rows are drawn: the picture shows half of what there is to know, the sound the other half.
"""

import sys

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from fuseloom import create
from fuseloom.data.av_digits import make_av_digits
from fuseloom.data.media import read_audio
from fuseloom.encoders.timm import TimmEncoder
from fuseloom.heads import LinearHead
from fuseloom.models import FusionModel
from fuseloom.nn import log_mel
from fuseloom.types import Batch

SIDE, ROWS, EPOCHS = 32, 300, 5
NAMES = ("image", "sound")


def spectrogram(samples: NDArray[np.float32], rate: int) -> torch.Tensor:
    """Time by pitch as a grey picture ``[1, SIDE, SIDE]``, in [-1, 1]."""
    bands = log_mel(torch.from_numpy(samples), rate, num_mels=SIDE)[None, None]
    picture = F.interpolate(bands, (SIDE, SIDE), mode="bilinear", antialias=True)[0]
    return 2 * (picture - picture.min()) / (picture.max() - picture.min()) - 1


def recorded(folder: str) -> tuple[Batch, NDArray[np.bool_]]:
    """Pictures and recordings of the same digits, and which rows are tested: other speakers say them."""
    rows = make_av_digits(folder, rows=ROWS, image_noise=0.6)
    pixels = torch.from_numpy(rows.image)[:, None].float() / 127.5 - 1
    sounds = torch.stack([spectrogram(*read_audio(item)) for item in rows.audio])
    inputs = {"image": F.interpolate(pixels, (SIDE, SIDE), mode="bilinear"), "sound": sounds}
    return Batch(inputs=inputs, target=torch.from_numpy(rows.target.astype(np.int64))), rows.split == "test"


def drawn() -> tuple[Batch, NDArray[np.bool_]]:
    """A square at one of five places and a low or a high tone, together one of ten classes."""
    generator = np.random.default_rng(0)
    place, high = generator.integers(0, 5, ROWS), generator.integers(0, 2, ROWS)
    images = generator.normal(-0.5, 0.5, (ROWS, 1, SIDE, SIDE)).astype(np.float32)
    for row, start in enumerate(place * 6):
        images[row, 0, 10:18, start : start + 8] += 1.5
    turns = np.arange(2000) / 8000 * (600 + 1200 * high[:, None])
    tones = (np.sin(2 * np.pi * turns) + generator.normal(0, 0.5, turns.shape)).astype(np.float32)
    sounds = torch.stack([spectrogram(tone, 8000) for tone in tones])
    inputs = {"image": torch.from_numpy(images), "sound": sounds}
    return Batch(inputs=inputs, target=torch.from_numpy(2 * place + high)), np.arange(ROWS) >= 0.8 * ROWS


def assemble(how: str) -> FusionModel:
    """A model of two encoders, that meet only at the end, between their stages too, or before the end."""
    encoders = {name: TimmEncoder("test_convnext", dim=48, pretrained=False) for name in NAMES}
    _, second, third, _, last = encoders["image"].dims
    head = LinearHead(last, 10)
    if how == "merge behind stage 2":  # counted from 0; the rest of one encoder runs on the fused map
        encoders["sound"].shorten(3)
        merge = create("sum", dict.fromkeys(NAMES, third), pool=None)
        return FusionModel(encoders, merge, head, trunk="image", merge_after=2)
    merge = create("concat", dict.fromkeys(NAMES, last))
    talk = {
        1: create("cross_attention", dict.fromkeys(NAMES, second), num_heads=4),
        2: create("pixel_attention", dict.fromkeys(NAMES, third)),
    }
    return FusionModel(encoders, merge, head, exchanges={} if how == "no exchange" else talk)


def main() -> None:
    """Train each model and print how many test rows it tells right."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the tensors are small
    rows, tested = recorded(sys.argv[1]) if len(sys.argv) > 1 else drawn()
    learnt, test = (rows.take(torch.from_numpy(np.flatnonzero(kept))) for kept in (~tested, tested))
    for how in ("no exchange", "exchanges behind stages 1 and 2", "merge behind stage 2"):
        model = assemble(how)
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
        for places in (part for _ in range(EPOCHS) for part in torch.randperm(len(learnt)).split(40)):
            step = learnt.take(places)
            optimizer.zero_grad()
            F.cross_entropy(model(step.inputs), step.target).backward()
            optimizer.step()
        with torch.inference_mode():
            right = model.eval()(test.inputs).argmax(-1) == test.target
        print(f"{how:<32} {right.float().mean():.2f}")


if __name__ == "__main__":
    main()
