"""Does fusing pay at pixels, and how, on generated scenes?

Each table is an experiment of the package, with three runs of each way on scenes drawn from a seed of which
no model had seen one before. `labels` is `seg-fusions`: small versions of the published systems, the same
backbone without an exchange, with one head for all streams and with cross-attention, and each map alone,
beside what the best reader of photographs, of distances, and of both can expect; and the scores of test
scenes in which a sensor fails, which no training scene shows. `normals` and `rgb` are `translation-normals`
and `translation-rgb`: pictures made of others. Finished runs are journalled in the folder: killed, a table
goes on where it was. Stored are the scores of each run, not the models.

    python benchmarks/seg_scenes.py labels --workers 2
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from muse_scenes import finite, trained_s
from program import publish, say
from tables import about
from timing import environment

from fuseloom.comparison.experiments import read_experiment
from fuseloom.comparison.variants import Variants, VariantsConfig, run_variants
from fuseloom.data.scenes.failures import FAILURES
from fuseloom.data.scenes.seg import SegScenes, write_seg_scenes
from fuseloom.report.decode import decode
from fuseloom.report.experiments.text import variants_text

__all__ = ["TABLES", "PixelTable", "main", "measured", "render", "written"]

_RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class PixelTable:
    """An experiment, and the scenes that it is run on."""

    experiment: str
    seed: int
    """Of the scenes."""
    scenes: Mapping[str, int]
    """Split -> how many."""
    pixels: int = 64
    failures: Sequence[str] = ()
    """Of sensors, of which there are test scenes, too."""
    settings: Sequence[str] = field(default=())
    """Changes to all runs."""


TABLES: Mapping[str, PixelTable] = {
    "labels": PixelTable(
        experiment="seg-fusions",
        seed=2,
        scenes={"train": 2000, "valid": 200, "test": 300},
        failures=tuple(FAILURES),
        settings=("fit.max_epochs=10", "data.conditions=failure"),
    ),
    "normals": PixelTable(
        experiment="translation-normals",
        seed=3,
        scenes={"train": 1000, "valid": 150, "test": 300},
        settings=("fit.max_epochs=10",),
    ),
    "rgb": PixelTable(
        experiment="translation-rgb",
        seed=3,
        scenes={"train": 1000, "valid": 150, "test": 300},
        settings=("fit.max_epochs=10",),
    ),
}
"""Name -> what is run, and how much of it, so that it takes at most an hour on two cores."""


def written(table: PixelTable, folder: Path) -> Path:
    """The folder with the scenes, drawn where they are not there yet."""
    data = folder / f"scenes-seg-{table.seed}-{table.scenes['train']}-{table.pixels}"
    if not (data / "scenes-seg.json").exists():
        settings = SegScenes(pixels=table.pixels)
        write_seg_scenes(
            data, settings, scenes=table.scenes, failures=table.failures, seed=table.seed, progress=say
        )
    return data


def measured(
    table: PixelTable, data: Path, runs: Path, *, workers: int, variants: Sequence[str] = ()
) -> dict[str, Any]:
    """Run the experiment, or some of it, from where it was: what it found, and what can be expected."""
    config = read_experiment(table.experiment)
    assert isinstance(config, VariantsConfig)
    kept = {name: own for name, own in config.variants.items() if name in (variants or config.variants)}
    terms = config.terms.changed(data=(str(data),), settings=table.settings)
    found = run_variants(replace(config, variants=kept, terms=terms), runs, num_workers=workers, progress=say)
    found = replace(found, tables=tuple(replace(one, data="scenes-seg") for one in found.tables))
    facts = json.loads((data / "scenes-seg.json").read_text("utf-8"))
    return {"table": asdict(table), "ceilings": facts["ceilings"]["test"], "found": finite(asdict(found))}


def render(results: Mapping[str, Any]) -> str:
    """The table as the package prints it, and what it is to be read beside."""
    table, workers = results["table"], results["environment"]["workers"]
    pixels, seed = table["pixels"], table["seed"]
    count, settings = f"{table['scenes']['train']:,}", ", ".join(table["settings"])
    lines = [
        f"scenes-seg, seed {seed}, {pixels} x {pixels} pixels, {count} scenes to learn from ({settings})",
    ]
    if table["experiment"] == TABLES["labels"].experiment:
        ceilings = ", ".join(f"{name} {value:.3f}" for name, value in results["ceilings"].items())
        lines.append(f"The best test score that can be expected of who sees: {ceilings}")
    lines.append(
        f"All runs trained for {trained_s(results['found']) / 60:.0f} minutes in sum, {workers} at once."
    )
    text = variants_text(decode(Variants, results["found"], where="found"))
    return "\n".join([*lines, "", text, "", about(results)]) + "\n"


def main() -> None:
    """Run a table."""
    parser = argparse.ArgumentParser(description="Does fusing pay at pixels, and how?")
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs", "seg-scenes"), help="of scenes and runs")
    options = parser.parse_args()
    table, folder = TABLES[options.table], options.folder
    data = written(table, folder)
    found = measured(table, data, folder / f"runs-{options.table}", workers=options.workers)
    about_it = environment(torch.device("cpu"), table.seed) | {"workers": options.workers}
    publish({"environment": about_it, **found}, _RESULTS / f"seg_scenes_{options.table}.json", render)


if __name__ == "__main__":
    main()
