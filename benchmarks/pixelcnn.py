"""What does it save to paint pixel by pixel from what the layers keep?

Seconds to paint an image with PixelCNN++ at its published size, against a forward over the whole image for
every pixel, which draws the same image; of the latter, one forward is timed and counted once per pixel. The
ratio that cannot be passed is that of the multiplications: a forward for each pixel repeats, for each, what
one forward does. On one thread.

    python benchmarks/pixelcnn.py
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timing import environment, measure

from fuseloom.losses.logistic_mixture import sample_logistic_mixture
from fuseloom.models.muse.pixelcnn import PixelCnn

__all__ = ["main"]

_RESULTS = Path(__file__).parent / "results" / "pixelcnn.json"
_EMBEDDING_DIM = 768
_CLOCKS = {"thread": time.thread_time, "wall": time.perf_counter}


def pixel(model: PixelCnn, embedding: torch.Tensor, images: torch.Tensor, noise: torch.Tensor) -> None:
    """One pixel of the plain sampler, the last: a forward over the image, and a draw from its logits."""
    with torch.no_grad():
        logits = model(embedding, images)[..., -1:, -1:]
        images[..., -1:, -1:] = sample_logistic_mixture(logits, noise)


def runs(model: PixelCnn, batch: int, size: tuple[int, int]) -> dict[str, Callable[[], Any]]:
    """What takes turns."""
    embedding = torch.randn(batch, _EMBEDDING_DIM)
    images = torch.zeros(batch, 3, *size)
    noise = torch.full((batch, model.num_mixtures + 3, 1, 1), 0.5)
    return {
        "kept": partial(model.sample, embedding, size),
        "plain, one pixel": partial(pixel, model, embedding, images, noise),
    }


def row(model: PixelCnn, batch: int, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a batch of images, both ways."""
    size = (options.size, options.size)
    taken = measure(
        runs(model, batch, size),
        rounds=options.rounds,
        seconds=options.seconds,
        device=torch.device("cpu"),
        clock=_CLOCKS[options.clock],
    )
    pixels = options.size**2
    return {
        "batch": batch,
        "kept_s": taken["kept"]["median_s"],
        "kept_low_s": taken["kept"]["low_s"],
        "kept_high_s": taken["kept"]["high_s"],
        "plain_pixel_s": taken["plain, one pixel"]["median_s"],
        "plain_estimated_s": pixels * taken["plain, one pixel"]["median_s"],
        "ratio": pixels * taken["plain, one pixel"]["median_s"] / taken["kept"]["median_s"],
    }


def table(found: dict[str, Any]) -> str:
    """A line per batch."""
    size, lines = found["size"], [f"{'batch':>5} {'kept':>22} {'plain (estimated)':>18} {'ratio':>7}"]
    for one in found["rows"]:
        spread = f"{one['kept_s']:.2f} s [{one['kept_low_s']:.2f}, {one['kept_high_s']:.2f}]"
        lines.append(f"{one['batch']:5} {spread:>22} {one['plain_estimated_s']:16.1f} s {one['ratio']:7.0f}")
    lines.append(
        f"images of {size} x {size}, F {found['num_filters']}, {found['num_resnet']} blocks; plain: "
        f"{size**2} times the median of one forward and draw"
    )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the JSON."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = PixelCnn(_EMBEDDING_DIM, num_resnet=options.resnet, num_filters=options.filters).eval()
    found = {
        "format_version": 1,
        **environment(torch.device("cpu"), seed=0),
        "clock": options.clock,
        "size": options.size,
        "num_filters": options.filters,
        "num_resnet": options.resnet,
        "rows": [row(model, batch, options) for batch in options.batch or (1, 4)],
    }
    options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(table(found))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What does it save to paint from what the layers keep?")
    parser.add_argument("--batch", type=int, action="append", help="images at once; default: 1 and 4")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--resnet", type=int, default=5)
    parser.add_argument("--filters", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clock", choices=sorted(_CLOCKS), default="thread")
    parser.add_argument("--json", type=Path, default=_RESULTS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
