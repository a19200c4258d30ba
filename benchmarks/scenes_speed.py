"""How long does it take to draw and write the generated sets?

Each set is written as `fuseloom data make` writes it, by one process, several times over. Printed are the
seconds of one core for a thousand rows (median, least and most), whatever else the machine does.

    python benchmarks/scenes_speed.py
"""

import argparse
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from program import publish, say
from tables import about
from timing import environment

from fuseloom.data.scenes.sets import SCENE_SETS, write_scenes

__all__ = ["main", "measured", "render"]

_RESULTS = Path(__file__).parent / "results" / "scenes_speed.json"
_ROWS, _TURNS = 300, 5


def measured(*, rows: int = _ROWS, turns: int = _TURNS) -> dict[str, Any]:
    """Set -> seconds of each turn for a thousand rows; and the pixels of its pictures."""
    found: dict[str, list[float]] = {name: [] for name in SCENE_SETS}
    for turn in range(turns):
        for name, times in found.items():
            with TemporaryDirectory() as folder:
                start = time.process_time()
                write_scenes(name, Path(folder, name), rows=rows, seed=turn)
                times.append((time.process_time() - start) * 1000 / rows)
    return {"rows": rows, "seconds": found}


def render(results: Mapping[str, Any]) -> str:
    """A line for each set."""
    lines = ["seconds of one core for 1,000 rows         median    least     most"]
    for name, times in results["seconds"].items():
        shown = (statistics.median(times), min(times), max(times))
        lines.append(f"  {name:36s}" + "".join(f"{value:9.1f}" for value in shown))
    return "\n".join([*lines, "", about(results)]) + "\n"


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description="How long does it take to write the generated sets?")
    parser.add_argument("--rows", type=int, default=_ROWS)
    parser.add_argument("--turns", type=int, default=_TURNS)
    options = parser.parse_args()
    say(f"{len(SCENE_SETS)} sets, {options.turns} times")
    found = measured(rows=options.rows, turns=options.turns)
    publish({"environment": environment(torch.device("cpu"), 0), **found}, _RESULTS, render)


if __name__ == "__main__":
    main()
