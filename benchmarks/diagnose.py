"""What does EMAP cost, and what would the plain formulation of its paper?

Usage: python benchmarks/diagnose.py [--size 1000] [--fusion mlp] [--json FILE]

A small transformer encodes each of two series of 16 steps. ``mlp`` fuses the two vectors that they end in,
``cross_attention+concat`` their tokens. Ours runs the encoders once for each row and what fuses on all pairs,
of which it keeps sums; 100,000 rows take 100 partners each (Monte Carlo). At 10,000 both are run, so that the
standard error that is stated stands beside the true one. The plain formulation runs the whole model on every
pair, in batches of the size that is fastest for it of those tried, and keeps the table of all outputs. It is
timed on some of the pairs and its time extrapolated; its memory is that of the table alone, by calculation.
Ours is measured whole, in a process of its own: seconds of one core, which leave out what others do on the
machine, and the peak of its memory less what it held with the data and the model.
"""

import json
import multiprocessing
import resource
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import torch
from timing import environment

from fuseloom import Batch
from fuseloom.diagnose.projection import Partners, Projection, project
from fuseloom.diagnose.split import split
from fuseloom.models import FusionModel, ModelConfig, build_model
from fuseloom.tasks.classification import Classification

CLASSES = 3
STEPS, CHANNELS, DIM = 16, 8, 32
PARTNERS = 100
BATCHES = (256, 1024, 4096)
MOST_EXACT = {"mlp": 10_000, "cross_attention+concat": 1_000}
"""Fusion -> most rows of which all pairs are computed."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One projection."""

    fusion: str
    size: int
    form: str
    encoded: int
    """Rows that one encoder was run on."""
    pairs: int
    """Pairs that were fused."""
    seconds: float
    megabytes: float
    plain_pairs: int
    """Pairs that the plain formulation was timed on, of ``size`` squared."""
    plain_seconds: float
    """Extrapolated to all pairs."""
    plain_megabytes: float
    """Of the table of outputs alone, in single precision."""
    stated_error: float
    true_error: float | None
    """Root mean square against the exact projection, where that was computed too."""


@click.command()
@click.option("--size", "sizes", multiple=True, type=int, default=(1_000, 10_000, 100_000), show_default=True)
@click.option("--fusion", "fusions", multiple=True, type=click.Choice(sorted(MOST_EXACT)), default=("mlp",))
@click.option("--plain-s", default=15.0, show_default=True, help="Seconds to time the plain formulation for.")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(sizes: Sequence[int], fusions: Sequence[str], plain_s: float, json_path: Path | None) -> None:
    """Measure and print a table."""
    torch.set_num_threads(1)
    lines: list[Line] = []
    for fusion in fusions:
        plain = _apart(_plain, fusion, plain_s)
        for size in sizes:
            exact = None
            for partners in _partners(size, fusion):
                click.echo(f"{fusion}, {size:,} rows, {partners} partners", err=True)
                found, encoded, seconds, megabytes = _apart(_ours, fusion, size, partners)
                exact = found.additive if partners == "all" else exact
                lines.append(_line(fusion, size, found, exact, encoded, (seconds, megabytes), plain))
    about = environment(torch.device("cpu"), seed=0)
    results = {"environment": about, "emap": [asdict(line) for line in lines]}
    click.echo(_table(lines))
    click.echo(", ".join(f"{key} {value}" for key, value in about.items()))
    if json_path is not None:
        json_path.write_text(json.dumps(results, indent=1) + "\n")


def _partners(size: int, fusion: str) -> list[Partners]:
    exact: list[Partners] = ["all"] if size <= MOST_EXACT[fusion] else []
    return exact + ([PARTNERS] if size > 1_000 else [])


def _apart(function, *given):  # type: ignore[no-untyped-def]
    """Call in a new process, whose peak of memory is then its own."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
        return pool.submit(function, *given).result()


def _model(fusion: str) -> FusionModel:
    output = "tokens" if "+" in fusion else "pooled"
    options = {"kind": "series", "in_dim": CHANNELS, "body": "transformer", "output": output}
    config = ModelConfig(encoders=dict.fromkeys("ab", options), fusion=fusion, dim=DIM)
    torch.manual_seed(0)
    return build_model(config, Classification([str(k) for k in range(CLASSES)])).eval()


def _rows(size: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(inputs={name: torch.randn(size, STEPS, CHANNELS, generator=generator) for name in "ab"})


def _ours(fusion: str, size: int, partners: Partners) -> tuple[Projection, int, float, float]:
    """The projection, how many rows an encoder saw, and seconds and megabytes."""
    torch.set_num_threads(1)
    model, rows, encoded = _model(fusion), _rows(size), [0]
    model.encoders["a"].stages[0].register_forward_pre_hook(
        lambda _, given: encoded.__setitem__(0, encoded[0] + len(given[0]))
    )
    project(split(model), rows.take(slice(0, 20)), partners="all")  # what is made once is made
    encoded[0] = 0
    before, start = _peak(), time.process_time()
    found = project(split(model), rows, partners=partners)
    seconds = time.process_time() - start
    return found, encoded[0], seconds, (_peak() - before) / 1e6


def _peak() -> float:
    """Bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def _plain(fusion: str, limit_s: float) -> tuple[int, float]:
    """Pairs that the whole model was run on, and seconds for each of them, in the fastest batches."""
    torch.set_num_threads(1)
    model, rows = _model(fusion), _rows(1_000)
    timed = []
    for size in BATCHES:
        pairs, start = 0, time.process_time()
        while pairs == 0 or time.process_time() - start < limit_s / len(BATCHES):
            at = torch.arange(pairs, pairs + size)
            inputs = {"a": rows.inputs["a"][at // 1_000 % 1_000], "b": rows.inputs["b"][at % 1_000]}
            with torch.no_grad():
                model(inputs)
            pairs += size
        timed.append(((time.process_time() - start) / pairs, pairs))
    seconds, pairs = min(timed)
    return pairs, seconds


def _line(
    fusion: str,
    size: int,
    found: Projection,
    exact: torch.Tensor | None,
    encoded: int,
    cost: tuple[float, float],
    plain: tuple[int, float],
) -> Line:
    differs = None if exact is None or found.form == "exact" else found.additive - exact
    return Line(
        fusion=fusion,
        size=size,
        form=found.form,
        encoded=encoded,
        pairs=found.num_computed,
        seconds=cost[0],
        megabytes=cost[1],
        plain_pairs=plain[0],
        plain_seconds=plain[1] * size**2,
        plain_megabytes=size**2 * CLASSES * 4 / 1e6,
        stated_error=float(found.error.square().mean().sqrt()),
        true_error=None if differs is None else float(differs.square().mean().sqrt()),
    )


def _table(lines: Sequence[Line]) -> str:
    names = ("rows", "form", "encoded", "pairs", "s", "MB", "plain s", "plain MB", "plain / ours")
    head = "".join(f"{name:>13}" for name in names)
    text = ["plain: the whole model on all pairs, extrapolated; its MB are of the table alone, calculated"]
    text.append(f"{'fusion':<24}{head}{'error (true)':>18}")
    for line in lines:
        numbers = f"{line.size:>13,}{line.form:>13}{line.encoded:>13,}{line.pairs:>13,}{line.seconds:>13.1f}"
        plain = f"{line.megabytes:>13.0f}{line.plain_seconds:>13,.0f}{line.plain_megabytes:>13,.0f}"
        true = "" if line.true_error is None else f" ({line.true_error:.4f})"
        error = f"{line.stated_error:.4f}{true}" if line.form == "monte carlo" else "0"
        text.append(
            f"{line.fusion:<24}{numbers}{plain}{line.plain_seconds / line.seconds:>13,.0f}{error:>18}"
        )
    return "\n".join(text)


if __name__ == "__main__":
    main()
