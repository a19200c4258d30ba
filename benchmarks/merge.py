"""How far is each merge from its plain form and its floor, how does it grow, and what memory does it take?

For every registered merge, in one run: ours, the plain formulation of its paper (the best torch call for each
of its steps, with the same weights and the same result), and the floor, which does the matrix products that
cannot be avoided and nothing else (the mean over tokens counts as one). Times are medians of several rounds
in which the three take turns; a ratio above 1 is time that ours loses, and ``~`` marks one whose quartiles
are far apart. bfloat16 is weights and streams cast to it, not autocast. Peak memory is what one forward and
backward makes and holds at once, the gradients of all weights included and the weights excluded.

One thread by default: more make small parts slower, and all of them unsteady on a shared machine.

    python benchmarks/merge.py                       # CPU, all merges
    python benchmarks/merge.py --compile             # compiled too, which takes far longer
    python benchmarks/merge.py --device cuda --merges concat,low_rank
    python benchmarks/merge.py --quick               # a tiny subset, to see that it runs
"""

import argparse
import inspect
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from contest import (
    Effort,
    Setting,
    Size,
    build,
    compete,
    contender,
    draw,
    peaks,
    steps,
    too_large,
)
from program import attempt, chosen, effort, part_parser, prepare, publish, say
from rivals.products import PlainTensorProduct
from timing import environment, measure

import fuseloom
from fuseloom.registry import lookup

__all__ = [
    "FULL",
    "QUICK",
    "Axis",
    "Plan",
    "chunk_memory",
    "grow",
    "growth",
    "low_rank_products",
    "main",
    "parse",
    "run",
    "speed",
]

_RANK, _RANK_LIMIT = 8, 1.5
_CHUNK, _CHUNK_DIM, _CHUNK_OTHERS = 8, 64, {"m1": 16}


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What grows, from a size on."""

    name: str
    base: Size
    values: tuple[int, ...]

    def points(self) -> Iterator[tuple[int, Size, dict[str, int]]]:
        """Value, size and options of each point."""
        for value in self.values:
            if self.name == "rank":
                yield value, self.base, {"rank": value}
            else:
                yield value, replace(self.base, **{self.name: value}), {}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured.

    Args:
        sizes: In float32, eagerly.
        representative: In the other type, and compiled; it is one of the sizes.
        axes: What grows.
        product_batches: Batches at which `low_rank` is held against its products, at ``product_width``.
        product_width: Width of the three modalities there.
        chunk_widths: Widths of the first modality for `tensor` in chunks.
        chunk_rows: Batch there.
    """

    sizes: tuple[Size, ...]
    representative: Size
    axes: tuple[Axis, ...]
    product_batches: tuple[int, ...]
    product_width: int
    chunk_widths: tuple[int, ...]
    chunk_rows: int


_TYPICAL = Size(batch=64, width=128, tokens=16, modalities=2)
FULL = Plan(
    sizes=(
        Size(batch=32, width=64, modalities=2),
        Size(batch=256, width=64, modalities=3),
        Size(batch=32, width=768, modalities=2),
        _TYPICAL,
    ),
    representative=_TYPICAL,
    axes=(
        Axis(name="width", base=Size(batch=32, width=64, modalities=2), values=(64, 128, 256, 512, 1024)),
        Axis(name="rank", base=Size(batch=32, width=128, modalities=3), values=(1, 2, 4, 8, 16, 32)),
        Axis(name="modalities", base=Size(batch=32, width=32, modalities=2), values=(2, 3, 4, 6, 8)),
        Axis(name="batch", base=Size(batch=1, width=64, modalities=2), values=(1, 16, 256, 4096)),
    ),
    product_batches=(32, 256, 1024),
    product_width=128,
    chunk_widths=(32, 64, 128, 256, 512),
    chunk_rows=512,
)
_TINY = Size(batch=4, width=8, tokens=3, modalities=2)
QUICK = Plan(
    sizes=(_TINY,),
    representative=_TINY,
    axes=(
        Axis(name="width", base=Size(batch=4, width=8, modalities=2), values=(8, 16)),
        Axis(name="rank", base=Size(batch=4, width=8, modalities=2), values=(1, 2)),
        Axis(name="modalities", base=Size(batch=4, width=8, modalities=2), values=(2, 3)),
        Axis(name="batch", base=Size(batch=1, width=8, modalities=2), values=(1, 4)),
    ),
    product_batches=(4,),
    product_width=8,
    chunk_widths=(16, 32),
    chunk_rows=64,
)


def speed(
    names: Sequence[str], plan: Plan, settings: Sequence[Setting], effort: Effort
) -> Iterator[dict[str, Any]]:
    """Times and memory: the first setting at all sizes, the others at the representative one.

    Where torch's compiler fails on one of the three, the row has its ``error`` instead.
    """
    for number, setting in enumerate(settings):
        for name in names:
            for size in plan.sizes if number == 0 else (plan.representative,):
                if too_large(name, size):
                    say(f"{name} {size}: too large")
                    continue
                yield attempt(compete, name, size, setting, effort)


def grow(name: str, axis: Axis, setting: Setting, effort: Effort) -> dict[str, Any]:
    """Times of ours at each point of an axis that the merge can take."""
    sizes: dict[int, Size] = {}
    runs = {}
    for value, size, options in axis.points():
        if not too_large(name, size, **options):
            part = build(name, size, **options).to(setting.device, setting.dtype)
            sizes[value] = size
            runs[str(value)] = steps(contender(part), draw(size, setting))["forward+backward"]
    times = measure(runs, **asdict(effort), device=setting.device)
    return {
        "axis": axis.name,
        "part": name,
        "base": asdict(axis.base),
        "values": list(axis.values),
        "points": [
            {"value": value, "batch": size.batch, "times": times[str(value)]} for value, size in sizes.items()
        ],
    }


def growth(names: Sequence[str], plan: Plan, setting: Setting, effort: Effort) -> Iterator[dict[str, Any]]:
    """Times along every axis, of each merge that has the option."""
    for axis in plan.axes:
        for name in names:
            if axis.name == "rank" and "rank" not in inspect.signature(lookup(name, kind="merge")).parameters:
                continue
            say(f"{name} {axis.name}")
            yield grow(name, axis, setting, effort)


def low_rank_products(plan: Plan, setting: Setting, effort: Effort) -> dict[str, Any]:
    """`low_rank` against its matrix products alone, three modalities."""
    sizes = [Size(batch=batch, width=plan.product_width, modalities=3) for batch in plan.product_batches]
    rows = [compete("low_rank", size, setting, effort, rank=_RANK) for size in sizes]
    return {"rank": _RANK, "limit": _RANK_LIMIT, "rows": rows}


def chunk_memory(plan: Plan, setting: Setting) -> dict[str, Any]:
    """Peak memory of `tensor`, whole and in chunks, and of its plain form, as the first modality widens."""
    points = [
        _chunk_point({"m0": width, **_CHUNK_OTHERS}, plan.chunk_rows, setting) for width in plan.chunk_widths
    ]
    return {"rows": plan.chunk_rows, "dim": _CHUNK_DIM, "chunk": _CHUNK, "points": points}


def _chunk_point(dims: Mapping[str, int], rows: int, setting: Setting) -> dict[str, Any]:
    streams = {name: torch.randn(rows, width, device=setting.device) for name, width in dims.items()}
    whole, chunked = (
        fuseloom.create("tensor", dims, dim=_CHUNK_DIM, chunk=chunk) for chunk in (None, _CHUNK)
    )
    parts = {"plain": PlainTensorProduct(whole.state_dict(), dims), "whole": whole, "chunked": chunked}
    runs = {who: steps(contender(part.to(setting.device)), streams) for who, part in parts.items()}
    gradients = sum(value.nbytes for value in [*streams.values(), *whole.parameters()])
    product = math.prod(width + 1 for width in dims.values())
    point = {"widths": list(dims.values()), "product": product, "gradient_bytes": gradients}
    return point | {f"{who}_bytes": peak - gradients for who, peak in peaks(runs).items()}


def run(names: Sequence[str], plan: Plan, options: argparse.Namespace) -> dict[str, Any]:
    """Everything, as the JSON holds it."""
    device = torch.device(options.device)
    modes = (False, True) if options.compile else (False,)
    settings = [
        Setting(device=device, dtype=dtype, compiled=compiled)
        for compiled in modes
        for dtype in (torch.float32, torch.bfloat16)
    ]
    rows = list(speed(names, plan, settings, effort(options)))
    results: dict[str, Any] = {
        "format_version": 1,
        "environment": environment(device, options.seed),
        "speed": [row for row in rows if "error" not in row],
        "failed": [row for row in rows if "error" in row],
        "growth": list(growth(names, plan, settings[0], effort(options))),
        "checks": {},
    }
    if "low_rank" in names:
        results["checks"]["low_rank"] = low_rank_products(plan, settings[0], effort(options))
    if "tensor" in names:
        results["checks"]["tensor_chunk"] = chunk_memory(plan, settings[0])
    return results


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    return part_parser("merge").parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, write the JSON; 1 where a merge has nothing to be measured against."""
    options = parse(arguments)
    names = chosen(options.merges)
    if not names:
        return 1
    prepare(options)
    publish(run(names, QUICK if options.quick else FULL, options), options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
