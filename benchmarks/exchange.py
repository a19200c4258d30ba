"""How far is each exchange from its plain form and its floor?

As `merge.py`, without growth: ours, the plain formulation and the floor take turns in one run, in float32 and
eagerly at all sizes.

    python benchmarks/exchange.py
    python benchmarks/exchange.py --device cuda
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from contest import Setting, Size, compete, without_rival
from program import add_options, effort, prepare, publish
from timing import environment

import fuseloom

__all__ = ["SIZES", "main"]

SIZES = (
    Size(batch=32, width=64, modalities=2),
    Size(batch=256, width=64, modalities=3),
    Size(batch=32, width=768, modalities=2),
    Size(batch=256, width=768, modalities=3),
    Size(batch=32, width=64, tokens=64, modalities=2),
    Size(batch=256, width=64, tokens=64, modalities=3),
    Size(batch=32, width=768, tokens=64, modalities=2),
)
_QUICK = (Size(batch=4, width=8, tokens=3, modalities=2),)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the JSON; 1 where an exchange has nothing to be measured against."""
    parser = argparse.ArgumentParser(description="How far is each exchange from its floor?")
    add_options(parser)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "exchange.json")
    options = parser.parse_args(arguments)
    names = fuseloom.list_fusions(kind="exchange")
    if absent := without_rival(names):
        print(f"No plain formulation in rivals: {', '.join(absent)}.", file=sys.stderr)
        return 1
    prepare(options)
    setting = Setting(device=torch.device(options.device))
    sizes = _QUICK if options.quick else SIZES
    results = {
        "format_version": 1,
        "environment": environment(setting.device, options.seed),
        "speed": [compete(name, size, setting, effort(options)) for name in names for size in sizes],
    }
    publish(results, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
