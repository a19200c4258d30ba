"""What the programs that time parts share: options, threads and seed, the tables and the JSON."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from contest import Effort
from tables import render

__all__ = ["add_options", "effort", "prepare", "publish"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where, how long and from which seed."""
    parser.add_argument("--quick", action="store_true", help="tiny sizes and two rounds, to see that it runs")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=25, help="at most, per pass")
    parser.add_argument("--seconds", type=float, default=0.5, help="per pass, after five rounds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)


def prepare(options: argparse.Namespace) -> None:
    """Set threads and seed."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)


def effort(options: argparse.Namespace) -> Effort:
    """How long is measured."""
    if options.quick:
        return Effort(rounds=2, seconds=0.0)
    return Effort(rounds=options.rounds, seconds=options.seconds)


def publish(results: Mapping[str, Any], path: Path) -> None:
    """Write the JSON, and print the tables of what it holds."""
    text = json.dumps(results, indent=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", "utf-8")
    print(render(json.loads(text)), end="")
