"""How far is each exchange from its plain form, from full attention and from its floor? How does it grow?

For every registered exchange, in one run: ours, the plain formulation of its paper (the best torch call for
each of its steps, with the same weights and the same result), full cross-attention through SDPA at the same
size, and the floor, which does the matrix products that cannot be avoided and nothing else. They take turns,
as in `merge.py`; a ratio above 1 is time that ours loses. Bytes kept for the backward are those of what
autograd saves, the inputs included and the weights excluded.

First of all come the figures that exchanges promise. One that is missed is followed by the operations that
the time goes into. The JSON grows with the run: one that is stopped leaves what it has measured.

    python benchmarks/exchange.py                       # CPU, all exchanges
    python benchmarks/exchange.py --compile             # compiled too, which takes far longer
    python benchmarks/exchange.py --clock thread        # where others compute on the same machine
    python benchmarks/exchange.py --device cuda --exchanges mult,bottleneck
    python benchmarks/exchange.py --quick               # tiny sizes, to see that it runs
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import exchange_tables
import torch
from contest import (
    Effort,
    Setting,
    Size,
    about,
    agree,
    compiled,
    contenders,
    draw,
    race,
    too_large,
)
from exchange_checks import CLS, STAGES, Stage, cls_figures, pixel_figures
from exchange_growth import ATTENTION, Axis, Limits, full_attention, grow
from probes import saved_bytes
from program import attempt, chosen, effort, part_parser, prepare, publish, say, store
from timing import environment

from fuseloom.registry import card

__all__ = ["FULL", "QUICK", "Plan", "compete", "figures", "growth", "main", "parse", "run", "speed", "takes"]

# Two medians are compared with a promise, so they must be steadier than those that fill a table.
_PATIENCE = 10


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured.

    Args:
        sizes: In float32, eagerly.
        representative: In the other type, and compiled; it is one of the sizes.
        axes: What grows.
        stages: Where `pixel_attention` must keep its promises.
        cls: Where `cls_exchange` must.
    """

    sizes: tuple[Size, ...]
    representative: Size
    axes: tuple[Axis, ...]
    stages: tuple[Stage, ...]
    cls: Size


_TYPICAL = Size(batch=8, width=64, tokens=64, modalities=2)
FULL = Plan(
    sizes=(
        _TYPICAL,
        Size(batch=32, width=64, modalities=2),
        Size(batch=1, width=64, tokens=1024, modalities=3),
        Size(batch=4, width=768, tokens=32, modalities=2),
    ),
    representative=_TYPICAL,
    axes=(
        Axis(name="tokens", base=replace(_TYPICAL, batch=1, tokens=1024), values=(1024, 4096, 16384, 65536)),
        Axis(name="batch", base=replace(_TYPICAL, batch=1), values=(1, 16, 256)),
        Axis(name="modalities", base=_TYPICAL, values=(2, 3, 4, 6, 8)),
    ),
    stages=STAGES,
    cls=CLS,
)
_TINY = Size(batch=2, width=8, tokens=5, modalities=2)
QUICK = Plan(
    sizes=(replace(_TINY, tokens=1), _TINY),
    representative=_TINY,
    axes=(
        Axis(name="tokens", base=_TINY, values=(8, 32)),
        Axis(name="batch", base=_TINY, values=(1, 4)),
        Axis(name="modalities", base=_TINY, values=(2, 3)),
    ),
    stages=tuple(replace(stage, size=replace(_TINY, width=16, tokens=9)) for stage in STAGES),
    cls=replace(_TINY, tokens=33),
)


def takes(name: str, size: Size) -> bool:
    """Whether an exchange takes such streams."""
    return ("embedding" if size.tokens == 1 else "tokens") in card(name).ranks and not too_large(name, size)


def compete(name: str, size: Size, setting: Setting, effort: Effort) -> dict[str, Any]:
    """Times of both passes of ours and of all three rivals; peak memory and bytes kept where it is eager."""
    agree(name, size, setting.device)
    if setting.compiled:
        torch.compiler.reset()
    full, streams = full_attention(size, setting), draw(size, setting)
    entrants = contenders(name, size, setting) | {"attention": compiled(full) if setting.compiled else full}
    kept = {who: saved_bytes(one, streams) for who, one in entrants.items() if not setting.compiled}
    kept |= {"inputs": sum(value.nbytes for value in streams.values())}
    result = about(name, size, setting) | race(entrants, streams, setting, effort)
    return result | {"kept_bytes": None if setting.compiled else kept}


def speed(
    names: Sequence[str], sizes: Sequence[Size], setting: Setting, effort: Effort
) -> Iterator[dict[str, Any]]:
    """Times and memory; the ``error`` instead, where torch's compiler fails on one of the four."""
    for size, name in product(sizes, names):
        if takes(name, size):
            yield attempt(compete, name, size, setting, effort)


def growth(
    names: Sequence[str], plan: Plan, setting: Setting, effort: Effort, limits: Limits
) -> Iterator[dict[str, Any]]:
    """Times and peak memory along every axis, of each exchange and of full attention."""
    for axis in plan.axes:
        for name in [*names, ATTENTION]:
            say(f"{name} {axis.name}")
            yield grow(name, axis, setting, effort, limits)


def figures(names: Sequence[str], plan: Plan, setting: Setting, effort: Effort) -> Iterator[dict[str, Any]]:
    """What is promised of the exchanges that are measured."""
    if "pixel_attention" in names:
        for stage in plan.stages:
            say(f"pixel_attention stage {stage.number}")
            yield from pixel_figures(stage, setting, effort)
    if "cls_exchange" in names:
        say("cls_exchange figures")
        yield from cls_figures(plan.cls, setting, effort)


def run(names: Sequence[str], plan: Plan, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Everything as the JSON holds it, again after each row."""
    device = torch.device(options.device)
    results: dict[str, Any] = {
        "format_version": 2,
        "environment": environment(device, options.seed) | {"clock": options.clock},
        "checks": [],
        "speed": [],
        "failed": [],
        "growth": [],
    }
    yield results
    for section, row in _rows(names, plan, options):
        results["failed" if "error" in row else section].append(row)
        yield results


def _rows(
    names: Sequence[str], plan: Plan, options: argparse.Namespace
) -> Iterator[tuple[str, dict[str, Any]]]:
    usual = effort(options)
    patient = replace(usual, seconds=usual.seconds * _PATIENCE)
    single = Setting(device=torch.device(options.device))
    half = replace(single, dtype=torch.bfloat16)
    yield from (("checks", row) for row in figures(names, plan, single, patient))
    for setting, sizes in ((single, plan.sizes), (half, (plan.representative,))):
        yield from (("speed", row) for row in speed(names, sizes, setting, usual))
    limits = Limits(seconds=options.most_seconds, gigabytes=options.most_gigabytes)
    yield from (("growth", row) for row in growth(names, plan, single, usual, limits))
    # Last, because it takes longer than everything else.
    for setting in (single, half) if options.compile else ():
        setting = replace(setting, compiled=True)
        yield from (("speed", row) for row in speed(names, (plan.representative,), setting, usual))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = part_parser("exchange")
    parser.add_argument("--most-seconds", type=float, default=60.0, help="of one pass as sizes grow")
    parser.add_argument("--most-gigabytes", type=float, default=8.0, help="at its peak as sizes grow")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, write the JSON; 1 where an exchange has nothing to be measured against."""
    options = parse(arguments)
    names = chosen(options.exchanges)
    if not names:
        return 1
    prepare(options)
    plan = QUICK if options.quick else FULL
    for results in run(names, plan, options):
        store(results, options.json)
    publish(results, options.json, exchange_tables.render)
    return 0


if __name__ == "__main__":
    sys.exit(main())
