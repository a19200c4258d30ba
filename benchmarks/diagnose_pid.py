"""How fast is the exact partial information decomposition beside the authors' program solved by cvxpy?

For random tables of counts, and for each size: seconds of `decompose` and of the authors' program (masses per
class, an auxiliary variable for their mean, relative entropies) in cvxpy with its default solver, the ratio,
the certified gap of ours in nats, and how far the two differ. Medians over repeats; the model of cvxpy is
made anew each time, as a user has to. Both take one thread.

    pip install cvxpy
    python benchmarks/diagnose_pid.py
    python benchmarks/diagnose_pid.py --sizes 2x2x2,20x20x2 --repeats 3 --json pid.json

The status is 1 where ours is slower, or not 20 times as fast at 20 x 20 x 2.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fuseloom.metrics.information.decomposition import decompose

__all__ = ["Row", "authors_program", "main", "measure"]

Floats = NDArray[np.floating[Any]]

SIZES = "2x2x2,4x4x3,10x10x3,20x20x2,20x20x4,20x20x10,30x30x2,40x40x10"
WANTED = {"20x20x2": 20.0}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One size."""

    size: str
    ours: float
    """Median seconds."""
    cvxpy: float
    """Median seconds."""
    gap: float
    difference: float
    """Between the information of the two solutions, in nats."""

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.cvxpy / self.ours


def authors_program(table: Floats) -> float:
    """Information in nats of the least informative joint distribution, by cvxpy's default solver."""
    import cvxpy as cp

    classes = range(table.shape[2])
    joint = [cp.Variable(table.shape[:2], nonneg=True) for _ in classes]
    middle = [cp.Variable(table.shape[:2], nonneg=True) for _ in classes]
    rules = [sum(cp.sum(one) for one in joint) == 1]
    rules += [cp.sum(joint[y], axis=1) == table.sum(1)[:, y] for y in classes]
    rules += [cp.sum(joint[y], axis=0) == table.sum(0)[:, y] for y in classes]
    rules += [one == sum(joint) / len(joint) for one in middle]
    loss = sum(cp.sum(cp.rel_entr(joint[y], middle[y])) for y in classes)
    labels = table.sum((0, 1))
    value = cp.Problem(cp.Minimize(loss), rules).solve()
    return float(value - np.log(len(joint)) - (labels * np.log(labels)).sum())


def measure(size: str, repeats: int) -> Row:
    """Time both on a table of as many counts as cells, five times over."""
    shape = tuple(map(int, size.split("x")))
    generator = np.random.default_rng(0)
    cells = int(np.prod(shape))
    counts = generator.multinomial(5 * cells, generator.dirichlet(np.ones(cells))).reshape(shape)
    table = counts / counts.sum()
    found = decompose(table, unit="nats")
    ours = _seconds(lambda: decompose(table), repeats)
    theirs = authors_program(table)
    seconds = _seconds(lambda: authors_program(table), repeats)
    least = found.redundant + sum(found.unique)
    return Row(size=size, ours=ours, cvxpy=seconds, gap=found.gap, difference=abs(theirs - least))


def _seconds(call: Callable[[], object], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        start = perf_counter()
        call()
        taken.append(perf_counter() - start)
    return median(taken)


def main(words: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(words)
    print(f"{'table':>10} {'ours':>10} {'cvxpy':>10} {'ratio':>8} {'gap':>9} {'difference':>11}")
    rows = []
    for size in options.sizes.split(","):
        with threadpool_limits(1):  # on a machine that others use, threads wait for one another
            row = measure(size, options.repeats)
        rows.append(row)
        print(
            f"{size:>10} {row.ours * 1e3:>7.1f} ms {row.cvxpy * 1e3:>7.1f} ms {row.ratio:>7.1f}x "
            f"{row.gap:>9.1e} {row.difference:>11.1e}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps([asdict(row) | {"ratio": row.ratio} for row in rows], indent=1))
    return int(any(row.ratio < WANTED.get(row.size, 1.0) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
