"""What MuSE reaches on generated scenes, and what each of its parts is worth there.

Each table is an experiment of the package with the small model of `muse-small`, three runs of each variant,
on a set drawn from a seed of which no model had seen a row before. Beside it stands what the best reader of
the text alone, and of both, can expect. Finished runs are journalled in the folder: killed, a table goes on
where it was. Stored are the scores of each run, not the models.

    python benchmarks/muse_scenes.py ner --workers 2
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from program import publish, say
from tables import about
from timing import environment

from fuseloom.comparison.experiments import read_experiment
from fuseloom.comparison.variants import Variants, VariantsConfig, run_variants
from fuseloom.data.scenes.sets import write_scenes

__all__ = ["TABLES", "ScenesTable", "main", "render"]

_RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class ScenesTable:
    """An experiment, and the rows that it is run on."""

    experiment: str
    """Of variants."""
    set: str
    """Of generated scenes."""
    data_seed: int
    rows: int
    variants: Sequence[str] = ()
    """Which of them; by default all."""
    settings: Sequence[str] = ()
    """Changes to all runs."""


TABLES: Mapping[str, ScenesTable] = {
    "ner": ScenesTable(
        experiment="muse-ablations",
        set="scenes-ner",
        data_seed=1,
        rows=50_000,
        variants=("MuSE", "text alone"),
    ),
}
"""Name -> what is run, and how much of it, so that it takes at most an hour on two cores."""


def drawn(table: ScenesTable, folder: Path) -> Path:
    """The folder with the rows, written where it is not there yet."""
    data = folder / f"{table.set}-{table.data_seed}-{table.rows}"
    if not _facts(table, data).exists():
        write_scenes(table.set, data, rows=table.rows, seed=table.data_seed, progress=say)
    return data


def _facts(table: ScenesTable, data: Path) -> Path:
    return data / f"{table.set}.json"


def measured(table: ScenesTable, data: Path, runs: Path, *, workers: int) -> dict[str, Any]:
    """Run the experiment from where it was: the scores of each run, and what is the most to be expected."""
    config = read_experiment(table.experiment)
    assert isinstance(config, VariantsConfig)
    kept = {name: own for name, own in config.variants.items() if name in (table.variants or config.variants)}
    terms = config.terms.changed(recipe="muse-small", data=(str(data),), settings=tuple(table.settings))
    found = run_variants(replace(config, variants=kept, terms=terms), runs, num_workers=workers, progress=say)
    ceilings = json.loads(_facts(table, data).read_text("utf-8"))["ceilings"]["test"]
    return {"table": asdict(table), "ceilings": ceilings, **_stored(found)}


def _stored(found: Variants) -> dict[str, Any]:
    """What is kept of the one data set of an experiment: the scores of each run."""
    (table,) = found.tables
    rows = [
        {
            "variant": one.name,
            "scores": [run.scores["test"][table.metric] for run in one.runs],
            "test": asdict(one.test),
            "gain": None if one.gain is None else asdict(one.gain),
            "parameters": one.parameters,
            "train_s": round(one.train_s, 1),
        }
        for one in table.variants
    ]
    return {"metric": table.metric, "reference": found.reference, "variants": rows}


def render(results: Mapping[str, Any]) -> str:
    """The table as text."""
    terms, metric = results["table"], results["metric"]
    ceilings = ", ".join(f"{name} {value:.3f}" for name, value in results["ceilings"].items())
    wide = max(len(row["variant"]) for row in results["variants"])
    rows = f"{terms['set']}, seed {terms['data_seed']}, {terms['rows']:,} rows"
    gain = f"more than {results['reference']}"
    lines = [
        f"{rows}; the best test {metric} that can be expected: {ceilings}",
        f"{'':{wide}}  {metric:>22}  {gain:>25}  {'minutes':>7}  {'parameters':>10}",
    ]
    for row in results["variants"]:
        gain = "" if row["gain"] is None else _interval(row["gain"], sign="+")
        lines.append(
            f"{row['variant']:{wide}}  {_interval(row['test']):>22}  {gain:>25}  "
            f"{row['train_s'] / 60:7.1f}  {row['parameters']:10,}"
        )
    return "\n".join([*lines, "", about(results)]) + "\n"


def _interval(given: Mapping[str, float], sign: str = "") -> str:
    return f"{given['mean']:{sign}.3f} ({given['low']:{sign}.3f} to {given['high']:{sign}.3f})"


def main() -> None:
    """Run one table."""
    parser = argparse.ArgumentParser(description="What is each part of MuSE worth on generated scenes?")
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs", "muse-scenes"), help="of rows and runs")
    options = parser.parse_args()
    table, start = TABLES[options.table], time.perf_counter()
    data = drawn(table, options.folder)
    found = measured(table, data, options.folder / f"runs-{options.table}", workers=options.workers)
    about_it = environment(torch.device("cpu"), table.data_seed) | {
        "workers": options.workers,
        "seconds": round(time.perf_counter() - start),
    }
    publish({"environment": about_it, **found}, _RESULTS / f"muse_scenes_{options.table}.json", render)


if __name__ == "__main__":
    main()
