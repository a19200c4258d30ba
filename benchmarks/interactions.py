"""Does `compare` find what was put into the data? Sets with stated amounts of each kind of interaction.

Usage: python benchmarks/interactions.py [--set interactions-synergy] [--encoder identity] [--json FILE]

On pure synergy a merge that claims multiplicative order must reach 0.95 with one linear head behind it, an
additive one must stay within the binomial interval of chance, and a multiplicative one must be recommended;
on pure redundancy one modality alone; on unique information an additive fusion. The status is 1 where not.
"""

import json
import sys
from dataclasses import asdict
from math import sqrt
from pathlib import Path

import click

from fuseloom.comparison.result import Comparison, Entry
from fuseloom.data.interactions import NAMED_SETTINGS, make_interactions
from fuseloom.registry import list_names, lookup
from fuseloom.workbench import compare

SUFFICIENT = 0.95
EXPECTED = {
    "interactions": "multiplicative",
    "interactions-redundancy": "none",
    "interactions-synergy": "multiplicative",
    "interactions-unique": "additive",
}
"""Set -> order of interaction of the model that should be recommended."""


@click.command()
@click.option("--set", "sets", multiple=True, type=click.Choice(sorted(NAMED_SETTINGS)), help="Default: all.")
@click.option("--merge", "merges", multiple=True, help="Default: all that take two modalities.")
@click.option("--encoder", type=click.Choice(["embedding", "identity"]), default="embedding")
@click.option("--seeds", default=3, show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(
    sets: tuple[str, ...],
    merges: tuple[str, ...],
    encoder: str,
    seeds: int,
    workers: int,
    json_path: Path | None,
) -> None:
    """Compare merges on the sets and print test accuracies beside what is known."""
    runs = {
        name: compare(
            name,
            fusions=merges or _all_merges(),
            embedding_encoder=encoder,
            seeds=seeds,
            num_workers=workers,
            progress=lambda line: click.echo(line, err=True),
        )
        for name in sets or sorted(NAMED_SETTINGS)
    }
    failures = sum(_print(name, run) for name, run in runs.items())
    if json_path is not None:
        json_path.write_text(json.dumps({name: asdict(run) for name, run in runs.items()}, indent=1))
    sys.exit(failures > 0)


def _all_merges() -> tuple[str, ...]:
    arities = {name: lookup(name, kind="merge").card.arity for name in list_names(kind="merge")}
    return tuple(name for name, (low, high) in arities.items() if low <= 2 <= (high or 2))


def _print(name: str, run: Comparison) -> int:
    """Print one set's table; the number of claims that do not hold."""
    data = make_interactions(**NAMED_SETTINGS[name])
    margin = 1.96 * sqrt(0.25 / run.data.rows["test"])
    known = f"{data.information():g} bits of information in both modalities, {data.information('a'):g} in one"
    print(f"\n{name}: {known}, {run.seeds} seeds")
    print(f"  {'model':28} {'claims':15} {'test accuracy':>13}")
    failures = 0
    for entry in sorted(run.entries, key=lambda entry: -entry.test.mean):
        holds = name != "interactions-synergy" or _holds(entry, margin)
        failures += not holds
        print(f"  {entry.name:28} {entry.interaction:15} {entry.test.mean:13.4f}{'' if holds else '  FAILS'}")
    best = data.best_accuracy()
    print(f"  {'nothing can exceed':44} {best:13.4f}, of one modality {data.best_accuracy('a'):.4f}")
    chosen = next(entry for entry in run.entries if entry.name == run.recommendation.name)
    right = chosen.interaction == EXPECTED[name]
    print(f"  {run.recommendation.sentence}{'' if right else '  FAILS'}  [{run.total_s:.0f} s]")
    return failures + (not right)


def _holds(entry: Entry, margin: float) -> bool:
    """Whether a model does on pure synergy what its claim says; nonlinear ones promise nothing."""
    if entry.interaction == "multiplicative":
        return entry.test.mean >= SUFFICIENT
    return entry.interaction == "nonlinear" or abs(entry.test.mean - 0.5) <= margin


if __name__ == "__main__":
    main()
