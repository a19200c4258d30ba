"""Does `compare` find what is known of real data? MOSI: text alone. Multiple Features: fusing pays.

Usage: python benchmarks/real_data.py DATA_FOLDER [--set mosi] [--seeds 3] [--json FILE]

DATA_FOLDER holds the folders ``mosi``, ``mfeat`` and ``instagram``. Multiple Features comes without splits,
so its line is the mean over three made ones; Instagram comes with five folds. Every fusion takes part.
"""

import json
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

import click

from fuseloom.comparison.result import Comparison
from fuseloom.data import ReadOptions
from fuseloom.workbench import compare

_INTENT = ReadOptions(target="intent", fold_columns=("fold*",))
SETS: dict[str, list[dict[str, Any]]] = {
    "mosi": [{}],
    "mfeat": [{"split_seed": seed} for seed in (0, 1, 2)],
    "instagram": [{"read": _INTENT, "metric": "auc"}],
}
"""Set -> settings of each comparison."""


@click.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("--set", "sets", multiple=True, type=click.Choice(sorted(SETS)), help="Default: all.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(data: Path, sets: tuple[str, ...], seeds: int, workers: int, json_path: Path | None) -> None:
    """Compare on the data sets in DATA and print test scores."""
    runs: dict[str, list[Comparison]] = {}
    for name in sets or SETS:
        runs[name] = [
            compare(
                data / name,
                seeds=seeds,
                num_workers=workers,
                command=f"benchmarks/real_data.py --set {name}",
                progress=lambda line: click.echo(line, err=True),
                **settings,
            )
            for settings in SETS[name]
        ]
        _print(name, runs[name])
    if json_path is not None:
        json_path.write_text(json.dumps({n: [asdict(r) for r in rs] for n, rs in runs.items()}, indent=1))


def _print(name: str, runs: list[Comparison]) -> None:
    splits = sum(run.data.folds for run in runs)
    print(f"\n{name}: mean test {runs[0].metric} over {splits} split(s), {runs[0].seeds} seeds each")
    scores = {e.name: mean(_score(run, e.name) for run in runs) for e in runs[0].entries}
    for model, score in sorted(scores.items(), key=lambda item: -item[1]):
        print(f"  {model:24} {score:.4f}")
    for run in runs:
        best = run.recommendation.best_fusion
        print(f"  Best fusion on validation data: {best}, test {_score(run, best):.4f}")
        print(f"  {run.recommendation.sentence}  [{run.total_s:.0f} s]")


def _score(run: Comparison, model: str) -> float:
    return next(entry.test.mean for entry in run.entries if entry.name == model)


if __name__ == "__main__":
    main()
