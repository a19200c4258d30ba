"""What does each remedy cost?

Seconds of a training step as a ratio to a step without a remedy; and of RollingQ, counted, what it adds to a
step and to a rotation. All take turns in one process, on the same batch and the same small attention fusion.
A remedy that steps once per modality is timed whole. What a remedy does before an epoch is timed apart.

    python benchmarks/cooperation.py
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from remedy_tables import render_costs
from timing import environment, measure
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fuseloom.models import ModelConfig, build_model
from fuseloom.registry import create_remedy, list_remedies, lookup
from fuseloom.tasks.classification import Classification
from fuseloom.train.fit import FitConfig, make_optimizer
from fuseloom.train.remedies import Course, Remedied
from fuseloom.train.rolling_query import RollingQuery
from fuseloom.train.step import training_step
from fuseloom.types import Batch

__all__ = ["main"]

_RESULTS = Path(__file__).parent / "results" / "cooperation.json"
_TASK = Classification(["a", "b", "c", "d"])
_WIDTHS = {"audio": 40, "video": 64}
_BATCHES = 8


def rows(size: int, seed: int) -> Batch:
    """Tokens of two modalities."""
    generator = torch.Generator().manual_seed(seed)
    inputs = {n: torch.randn(size, 12, width, generator=generator) for n, width in _WIDTHS.items()}
    return Batch(inputs=inputs, target=torch.randint(4, (size,), generator=generator))


def model(dim: int) -> Any:
    """An attention fusion of two small encoders."""
    encoders = {name: {"kind": "embedding", "in_dim": width} for name, width in _WIDTHS.items()}
    return build_model(ModelConfig(encoders=encoders, fusion="attention_pool", dim=dim, dropout=0.0), _TASK)


def learner(name: str, dim: int, data: Sequence[Batch]) -> tuple[nn.Module, torch.optim.Optimizer, float]:
    """A model in the care of a remedy in its first epoch, its optimiser, and the seconds between epochs."""
    torch.manual_seed(0)
    plain = model(dim)
    config = FitConfig()
    if not name:
        return plain, make_optimizer(list(plain.parameters()), config), 0.0
    teachers = {"teachers": dict(model(dim).encoders.items())}
    needs = lookup(name, kind="remedy").card.needs
    remedied = Remedied(plain, create_remedy(name, **(teachers if "teachers" in needs else {})), _TASK)
    trained = [value for value in remedied.parameters() if value.requires_grad]
    course = Course(
        epoch=0,
        num_steps=10**9,  # so that no step is the last of the epoch
        train=lambda: iter(data),
        valid=lambda: iter(data[:1]),
        optimizer=partial(make_optimizer, config=config),
    )
    start = time.perf_counter()
    remedied.start_epoch(course)
    return remedied, make_optimizer(trained, config), time.perf_counter() - start


def costs(dim: int, size: int, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Seconds of a step without a remedy and with each."""
    data = [rows(size, seed) for seed in range(_BATCHES)]
    runs: dict[str, Callable[[], Any]] = {}
    between = {}
    for name in ("", *list_remedies()):
        learning, optimizer, between[name] = learner(name, dim, data)
        for value in learning.parameters():
            value.grad = torch.zeros_like(value) if value.requires_grad else None
        runs[name] = partial(training_step, learning.train(), data[0], _TASK, optimizer)
    taken = measure(runs, rounds=rounds, seconds=seconds, device=torch.device("cpu"))
    step = taken[""]["median_s"]
    return [
        {
            "remedy": name,
            "ratio": one["median_s"] / step,
            "low": one["low_s"] / step,
            "high": one["high_s"] / step,
            "step_ms": 1000 * one["median_s"],
            "between_epochs_ms": 1000 * between[name],
        }
        for name, one in taken.items()
    ]


class _Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def rolling(dim: int, size: int) -> dict[str, int]:
    """Operations of a step before and after attaching, and after a rotation; forward passes of a rotation."""
    plain, passes = model(dim).train(), [0]
    batch = rows(size, 0)

    def forward() -> Tensor:
        passes[0] += 1
        outputs: Tensor = plain(batch.inputs)
        return outputs

    def step(watched: int) -> int:
        with _Counted() as counted, watcher.watching(plain, watched, _BATCHES):
            _TASK.loss(forward(), batch.target).backward()  # type: ignore[arg-type, no-untyped-call]
        return counted.count

    watcher = RollingQuery()
    step(0)  # makes the gradients that later ones are added to
    found = {"operations_without": step(0)}
    watcher.attach(plain)
    found["operations_attached"] = step(0)
    step(_BATCHES - 1)
    before = passes[0]
    watcher.end_epoch(plain, (forward() for _ in range(_BATCHES)))
    found["forward_passes_of_a_rotation"] = passes[0] - before
    found["batches_of_the_rows"] = _BATCHES
    found["operations_after_a_rotation"] = step(0)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the JSON."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    repeated = [
        costs(options.dim, options.batch, options.rounds, options.seconds) for _ in range(options.runs)
    ]
    found = {
        "format_version": 1,
        **environment(torch.device("cpu"), seed=0),
        "batch": options.batch,
        "dim": options.dim,
        "costs": [_median(list(same)) for same in zip(*repeated, strict=True)],
        "rolling": rolling(options.dim, options.batch),
    }
    options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(render_costs(found))
    return 0


def _median(same: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of several runs of one remedy."""
    numbers = {key: statistics.median(one[key] for one in same) for key in same[0] if key != "remedy"}
    return {"remedy": same[0]["remedy"], **numbers}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What does each remedy cost?")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--runs", type=int, default=3, help="of which the median is kept")
    parser.add_argument("--json", type=Path, default=_RESULTS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
