"""What the programs that time parts share: options, threads and seed, the tables and the JSON."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from contest import Effort, Setting, Size, about, without_rival
from tables import render
from torch._dynamo.exc import BackendCompilerFailed

import fuseloom

__all__ = ["attempt", "chosen", "effort", "part_parser", "prepare", "publish", "say", "store"]

_CLOCKS = {"wall": time.perf_counter, "thread": time.thread_time}


def part_parser(kind: str) -> argparse.ArgumentParser:
    """Which merges or exchanges; where, how long and from which seed; and where the JSON goes."""
    parser = argparse.ArgumentParser(description=f"How far is each {kind} from its floor?")
    parser.add_argument(f"--{kind}s", default=",".join(fuseloom.list_fusions(kind=kind)), help="with commas")
    parser.add_argument("--compile", action="store_true", help="compiled too, at one size")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and two rounds, to see that it runs")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=25, help="at most, per pass")
    parser.add_argument("--seconds", type=float, default=0.5, help="per pass, after five rounds")
    clocks = "thread: what the thread computed, whatever else the machine does"
    parser.add_argument("--clock", choices=sorted(_CLOCKS), default="wall", help=clocks)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    results = Path(__file__).parent / "results"
    parser.add_argument("--json", type=Path, default=results / f"{kind}.json")
    return parser


def chosen(listed: str) -> list[str]:
    """Parts named with commas; none, and a word why, where one of them has nothing to be measured against."""
    names = listed.split(",")
    if absent := without_rival(names):
        say(f"No plain formulation in rivals: {', '.join(absent)}.")
        return []
    return names


def prepare(options: argparse.Namespace) -> None:
    """Set threads and seed."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)


def effort(options: argparse.Namespace) -> Effort:
    """How long is measured, and with which clock.

    Raises:
        SystemExit: the clock of one thread, where more than that is measured.
    """
    if options.clock == "thread" and (options.device != "cpu" or options.threads != 1):
        raise SystemExit("--clock thread needs --device cpu and --threads 1.")
    rounds, seconds = (2, 0.0) if options.quick else (options.rounds, options.seconds)
    return Effort(rounds=rounds, seconds=seconds, clock=_CLOCKS[options.clock])


def say(what: str) -> None:
    """Tell how far the run is, beside its tables."""
    print(what, file=sys.stderr, flush=True)


def attempt(
    race: Callable[[str, Size, Setting, Effort], dict[str, Any]],
    name: str,
    size: Size,
    setting: Setting,
    effort: Effort,
) -> dict[str, Any]:
    """The row of a race; with its ``error`` instead, where torch's compiler fails on one that takes part."""
    say(f"{name} {size} {setting.dtype}{' compiled' if setting.compiled else ''}")
    try:
        return race(name, size, setting, effort)
    except BackendCompilerFailed as error:
        return about(name, size, setting) | {"error": type(error.inner_exception).__name__}


def store(results: Mapping[str, Any], path: Path) -> str:
    """Write the JSON, which is also returned."""
    text = json.dumps(results, indent=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", "utf-8")
    return text


def publish(
    results: Mapping[str, Any], path: Path, show: Callable[[Mapping[str, Any]], str] = render
) -> None:
    """Write the JSON, and print the tables of what it holds."""
    print(show(json.loads(store(results, path))), end="")
