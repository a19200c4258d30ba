"""Does `compare` find what is known of real data? MOSI: text alone. Multiple Features: fusing pays.

Usage: python benchmarks/real_data.py DATA_FOLDER [--seeds 3] [--json FILE]

DATA_FOLDER holds the folders ``mosi`` and ``mfeat``. Multiple Features comes without splits, so its line
is the mean over three made ones.
"""

import json
from dataclasses import asdict
from pathlib import Path
from statistics import mean

import click

from fuseloom.comparison.result import Comparison
from fuseloom.workbench import compare


@click.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("--seeds", default=3, show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(data: Path, seeds: int, workers: int, json_path: Path | None) -> None:
    """Compare on the data sets in DATA and print test scores."""
    runs: dict[str, list[Comparison]] = {}
    for name, split_seeds in {"mosi": [0], "mfeat": [0, 1, 2]}.items():
        runs[name] = [
            compare(
                data / name,
                seeds=seeds,
                split_seed=split_seed,
                num_workers=workers,
                command=f"fuseloom compare {name} --seeds {seeds} --split-seed {split_seed}",
                progress=lambda line: click.echo(line, err=True),
            )
            for split_seed in split_seeds
        ]
        _print(name, runs[name])
    if json_path is not None:
        json_path.write_text(json.dumps({n: [asdict(r) for r in rs] for n, rs in runs.items()}, indent=1))


def _print(name: str, runs: list[Comparison]) -> None:
    print(f"\n{name}: mean test {runs[0].metric} over {len(runs)} split(s), {runs[0].seeds} seeds each")
    scores = {e.name: mean(_score(run, e.name) for run in runs) for e in runs[0].entries}
    for model, score in sorted(scores.items(), key=lambda item: -item[1]):
        print(f"  {model:24} {score:.4f}")
    for run in runs:
        print(f"  {run.recommendation.sentence}  [{run.total_s:.0f} s]")


def _score(run: Comparison, model: str) -> float:
    return next(entry.test.mean for entry in run.entries if entry.name == model)


if __name__ == "__main__":
    main()
