"""How fast is the conditional random field beside pytorch-crf?

Decoding, and the loss with its gradient, take turns with those of pytorch-crf on the same scores, of
sequences of which half are shorter than the longest. Before anything is timed the two must agree. Everything
is measured several times over, and the ratio of every time is shown. Times are those of the one thread that
computes, whatever else the machine does.

    python benchmarks/crf.py
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchcrf
from program import publish
from tables import about
from timing import environment, measure, unsteady
from torch import Tensor, nn

from fuseloom.nn.crf import LinearChainCrf

__all__ = ["main"]

_RESULTS = Path(__file__).parent / "results" / "crf.json"
_SIZES = ("32x128x9", "40x64x12")
_WANTED = {("32x128x9", "decode"): 5.0}
"""How many times as fast as pytorch-crf it is to be; as fast, elsewhere."""

Passes = dict[str, dict[str, Callable[[], Any]]]


def draw(batch: int, length: int, num_tags: int) -> tuple[Tensor, Tensor, Tensor]:
    """Emissions, tags and a mask."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 2 * length, (batch, 1), generator=generator).clamp(max=length)
    emissions = 2 * torch.randn(batch, length, num_tags, generator=generator)
    tags = torch.randint(num_tags, (batch, length), generator=generator)
    return emissions.requires_grad_(), tags, torch.arange(length) < lengths


def passes(batch: int, length: int, num_tags: int) -> Passes:
    """What is timed, by pass and by who does it.

    Raises:
        SystemExit: the two do not find the same paths.
    """
    emissions, tags, mask = draw(batch, length, num_tags)
    ours, theirs = LinearChainCrf(num_tags), torchcrf.CRF(num_tags, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    if [path[path >= 0].tolist() for path in ours.decode(emissions, mask)] != theirs.decode(emissions, mask):
        raise SystemExit("The best paths differ.")
    gradients = {
        "ours": partial(_gradients, ours, emissions, lambda: ours(emissions, tags, mask)),
        "pytorch-crf": partial(
            _gradients, theirs, emissions, lambda: theirs(emissions, tags, mask, reduction="none")
        ),
    }
    for one, other in zip(*(run() for run in gradients.values()), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    decode = {"ours": ours.decode, "pytorch-crf": theirs.decode}
    without = {who: torch.no_grad()(partial(run, emissions, mask)) for who, run in decode.items()}
    return {"decode": without, "loss and gradient": gradients}


def _gradients(crf: nn.Module, emissions: Tensor, likelihood: Callable[[], Tensor]) -> Sequence[Tensor]:
    return torch.autograd.grad(-likelihood().mean(), [emissions, *crf.parameters()])


def race(size: str, runs: int, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """A row per pass, with the times of every run."""
    timed = passes(*map(int, size.split("x")))
    cpu, clock = torch.device("cpu"), time.thread_time
    again = partial(measure, rounds=rounds, seconds=seconds, device=cpu, clock=clock)
    return [
        {
            "size": size,
            "pass": name,
            "wanted": _WANTED.get((size, name), 1.0),
            "runs": [again(one) for _ in range(runs)],
        }
        for name, one in timed.items()
    ]


def render(results: Mapping[str, Any]) -> str:
    """Milliseconds with their quartiles in the middle run, and how many times as fast ours was in each."""
    head = f"{'':30} {'ours, ms':22} {'pytorch-crf, ms':22} {'times as fast':20} wanted"
    lines = [_line(row) for row in results["rows"]]
    notes = "~: quartiles far apart"
    return "\n".join([head, *lines, notes, about(results)]) + "\n"


def _line(row: Mapping[str, Any]) -> str:
    ratios = sorted((_ratio(run), place) for place, run in enumerate(row["runs"]))
    middle = row["runs"][ratios[len(ratios) // 2][1]]
    times = "".join(f" {_milliseconds(middle[who]):22}" for who in ("ours", "pytorch-crf"))
    shown = " ".join(f"{ratio:.1f}" for ratio, _ in ratios)
    return f"{row['size']:10} {row['pass']:19}{times} {shown:20} {row['wanted']:g}"


def _ratio(run: Mapping[str, Mapping[str, float]]) -> float:
    return run["pytorch-crf"]["median_s"] / run["ours"]["median_s"]


def _milliseconds(times: Mapping[str, float]) -> str:
    low, middle, high = (1000 * times[key] for key in ("low_s", "median_s", "high_s"))
    return f"{'~' if unsteady(times) else ''}{middle:.2f} ({low:.2f} to {high:.2f})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the JSON; fail where ours is slower than it is to be."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = [
        row
        for size in options.size or _SIZES
        for row in race(size, options.runs, options.rounds, options.seconds)
    ]
    results = {"format_version": 1, "environment": environment(torch.device("cpu"), seed=0), "rows": rows}
    publish(results, options.json, render)
    slow = [row for row in rows if statistics.median(map(_ratio, row["runs"])) < row["wanted"]]
    return 1 if slow else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="How fast is the conditional random field?")
    parser.add_argument("--size", action="append", help="sequences x length x tags, such as 32x128x9")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=10.0, help="per pass and run, after five rounds")
    parser.add_argument("--json", type=Path, default=_RESULTS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
