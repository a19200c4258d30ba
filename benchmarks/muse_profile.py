"""What does each of our ways to compute MuSE save by itself?

The model at its published size behind its encoders, without the painter, which are the same in both
formulations: as it is, and with one part at a time computed as the paper's code does it. That is the exchange
as a loop over samples and tokens; attention by modules that give all weights, one stream after the other; the
captioner as a loop over words; and pytorch-crf. All have the same weights, must agree, and take turns. What a
part saves is also told as a share of a whole training step, encoders, painter and optimiser included.

    python benchmarks/muse_profile.py --batch 4
    python benchmarks/muse_profile.py --device cuda
"""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from muse import Size, draw, entrants, options_parser, whole
from rivals.muse_swaps import Behind, swapped
from tables import about
from timing import environment, measure, unsteady
from torch import Tensor

from fuseloom.comparison.measure import PeakMemory

__all__ = ["check", "main", "render"]

_RESULTS = Path(__file__).parent / "results" / "muse_profile.json"
_OURS = "nothing"

Streams = Mapping[str, Tensor]
Rows = Mapping[str, Tensor]


def check(models: Mapping[str, Behind], streams: Streams, rows: Rows) -> None:
    """Make sure that all compute the same of the first rows.

    Raises:
        SystemExit: one does not.
    """
    few, own = ({name: value[:2] for name, value in given.items()} for given in (streams, rows))
    found = {}
    for name, behind in models.items():
        behind.parts.eval()
        with torch.no_grad():
            found[name] = torch.stack(behind.losses(few, own)), behind.paths(few, own)
    wanted, told = found[_OURS]
    for name, (losses, paths) in found.items():
        if not torch.allclose(losses, wanted, rtol=1e-4, atol=0) or paths != told:
            raise SystemExit(f"All must agree, got losses {wanted.tolist()} and {losses.tolist()} ({name}).")


def training(models: Mapping[str, Behind], streams: Streams, rows: Rows) -> dict[str, Callable[[], None]]:
    """Forward and backward of each."""
    return {name: partial(_learn, behind, streams, rows) for name, behind in models.items()}


def inference(models: Mapping[str, Behind], streams: Streams, rows: Rows) -> dict[str, Callable[[], None]]:
    """The best paths by each, except where nothing of it predicts."""
    return {
        name: partial(_predict, behind, streams, rows)
        for name, behind in models.items()
        if name != "the captioner"
    }


def _learn(behind: Behind, streams: Streams, rows: Rows) -> None:
    parts = behind.parts.train()
    for value in (*parts.parameters(), *streams.values()):
        value.grad = None
    torch.stack(behind.losses(streams, rows)).sum().backward()  # type: ignore[no-untyped-call]


def _predict(behind: Behind, streams: Streams, rows: Rows) -> None:
    behind.parts.eval()
    behind.paths(streams, rows)


def peak_mb(behind: Behind, streams: Streams, rows: Rows) -> float:
    """Megabytes of the tensors that forward and backward make and that are alive at once."""
    for value in (*behind.parts.parameters(), *streams.values()):
        value.grad = None
    with PeakMemory() as memory:
        _learn(behind, streams, rows)
    return memory.peak / 1e6


def render(found: Mapping[str, Any]) -> str:
    """A line for each part that is swapped back."""
    head = f"{'as the paper computes it':26}{'training, s':>22}{'ratio':>8}{'of a step':>11}{'peak, MB':>10}"
    lines = [f"{head}{'inference, s':>24}{'ratio':>8}"]
    ours, step = found["training"][_OURS], found["step"]["ours"]["median_s"]
    for name, taken in found["training"].items():
        saved = (taken["median_s"] - ours["median_s"]) / step
        cells = f"{_cell(taken):>22}{_ratio(taken, ours):>8}{saved:>11.2%}{found['peak_mb'][name]:>10,.0f}"
        if name in found["inference"]:
            told, own = found["inference"][name], found["inference"][_OURS]
            cells += f"{_cell(told):>24}{_ratio(told, own):>8}"
        lines.append(f"{name:26}{cells}")
    size = found["size"]
    lines += [
        "",
        f"Medians (quartiles) of a batch of {size['batch']} behind the encoders, without the painter;",
        f"a whole step takes {_cell(found['step']['ours'])} s.",
        "ratio: to the first line; of a step: what is saved; ~: quartiles far apart.",
        "",
        about(found),
    ]
    return "\n".join(lines) + "\n"


def _cell(taken: Mapping[str, float]) -> str:
    return f"{taken['median_s']:.3f} ({taken['low_s']:.3f}-{taken['high_s']:.3f})"


def _ratio(taken: Mapping[str, float], ours: Mapping[str, float]) -> str:
    mark = "~" if unsteady(taken) or unsteady(ours) else ""
    return f"{mark}{taken['median_s'] / ours['median_s']:.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the JSON."""
    about = "What does each of our ways to compute MuSE save by itself?"
    options = options_parser(about, _RESULTS, rounds=15, seconds=60.0).parse_args(arguments)
    torch.set_num_threads(1)
    device = torch.device(options.device)
    size = Size(**{name: getattr(options, name) for name in vars(Size())})
    both, rows = entrants(size, device), draw(size, device)
    models = swapped(both.ours, both.plain, both.task)
    shape = (size.batch, size.grid**2 + 1, size.dim)
    streams = {name: torch.randn(shape, device=device).requires_grad_() for name in ("text", "image")}
    check(models, streams, rows)
    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    timed = partial(measure, rounds=options.rounds, seconds=options.seconds, device=device, clock=clock)
    found = {
        "format_version": 1,
        "environment": environment(device, seed=0),
        "size": vars(size),
        "peak_mb": {name: peak_mb(behind, streams, rows) for name, behind in models.items()},
        "training": timed(training(models, streams, rows)),
        "inference": timed(inference(models, streams, rows)),
        "step": timed({"ours": whole(both, rows)["training step"]["ours"]}),
    }
    options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(render(found), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
