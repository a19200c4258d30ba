"""Compare fusions of pictures, recordings and steps in time, each encoder chosen by an option.

A machine is watched by a camera, a microphone and a sensor; it is worn if at least two of them show it.
Run it: python examples/05_pictures_sound_and_series.py
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import fuseloom
from fuseloom.data import ReadOptions, Sound

ENCODERS = [
    "camera=image,body=patch,patch=4,output=tokens",
    "microphone=audio,mels=16,output=tokens",
    "sensor=series,body=transformer,output=tokens",
]


def picture(worn: bool, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Grey metal, with rust where it is worn."""
    pixels = generator.integers(90, 140, (12, 12, 3))
    if worn:
        pixels[3:9, 3:9] = pixels[3:9, 3:9] + (60, 0, -40)
    return pixels.astype(np.uint8)


def sound(worn: bool, generator: np.random.Generator) -> Sound:
    """A hum, higher where it is worn, of any length."""
    seconds = np.arange(generator.integers(1000, 2000)) / 4000
    hum = np.sin(2 * np.pi * (700 if worn else 300) * seconds + generator.uniform(0, 6))
    return Sound(0.3 * hum + generator.normal(0, 0.1, len(hum)), rate=4000)


def steps(worn: bool, generator: np.random.Generator) -> NDArray[np.float64]:
    """Two channels that shake, more so where it is worn, for any number of steps."""
    return generator.normal(0, 1.5 if worn else 0.5, (generator.integers(8, 16), 2))


def main() -> None:
    """Draw machines, some without a recording, compare two fusions, and print what they say."""
    torch.set_num_threads(1)  # the tensors are small
    generator = np.random.default_rng(0)
    signs = generator.random((160, 3)) < 0.5
    rows: dict[str, list[Any]] = {
        "camera": [picture(shown, generator) for shown in signs[:, 0]],
        "microphone": [sound(heard, generator) for heard in signs[:, 1]],
        "sensor": [steps(felt, generator) for felt in signs[:, 2]],
    }
    rows["microphone"][::20] = [None] * 8
    result = fuseloom.compare(
        rows,
        target=np.where(signs.sum(1) >= 2, "worn", "sound"),
        read=ReadOptions(kinds={"sensor": "series"}),
        encoder=ENCODERS,
        fusions=["concat", "cross_attention+concat"],
        learning_rates=[3e-3],
        seeds=1,
        folds=1,
        max_epochs=8,
    )
    for entry in result.entries:
        print(f"{entry.name:<22} {entry.test.mean:.2f}")
    print(result.recommendation.sentence)


if __name__ == "__main__":
    main()
