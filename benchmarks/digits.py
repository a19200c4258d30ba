"""How long does a whole comparison take? `fuseloom compare digits`, every merge, three seeds, several runs.

Each run is a fresh command in a fresh folder: every merge and exchange, each modality alone, the baseline,
the search of learning rates, scores, intervals, the report. What is timed is the command, from start to end.

    python benchmarks/digits.py --runs 3
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from timing import environment

__all__ = ["main"]

_RESULTS = Path(__file__).parent / "results" / "digits.json"


def timed(arguments: Sequence[str]) -> float:
    """Seconds of one comparison, by the clock."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fuseloom", "compare", "digits", "--out", f"{folder}/run"]
        start = time.perf_counter()
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"The comparison failed:\n{done.stderr}")
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print every time and their median, write the JSON."""
    parser = argparse.ArgumentParser(description="How long does a whole comparison take?")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, default=_RESULTS)
    options, others = parser.parse_known_args(arguments)
    about = environment(torch.device("cpu"), seed=0)
    seconds = [timed(others) for _ in range(options.runs)]
    median = statistics.median(seconds)
    print(f"fuseloom compare digits: {', '.join(f'{one:.1f}' for one in seconds)} s; median {median:.1f} s")
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format_version": 1, **about, "seconds": seconds, "median_s": median}, indent=1)
    options.json.write_text(text + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
