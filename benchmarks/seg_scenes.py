"""Does fusing pay for labels of pixels, and how, on generated scenes whose ceilings are known?

The experiment `seg-fusions` of the package: small versions of the published systems, the same backbone
without an exchange, with one head for all streams and with cross-attention, and each map alone; three runs
each, on scenes drawn from a seed of which no model had seen one before. Beside the scores stands what the
best reader of photographs, of distances, and of both can expect; below them those of test scenes in which a
sensor fails, which no training scene shows. Finished runs are journalled in the folder: killed, the table
goes on where it was. Stored are the scores of each run, not the models.

    python benchmarks/seg_scenes.py --workers 2
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
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

__all__ = ["main", "measured", "render", "written"]

_RESULTS = Path(__file__).parent / "results"
_SEED, _PIXELS = 2, 64
_SCENES = {"train": 2000, "valid": 200, "test": 300}
_SETTINGS = ("fit.max_epochs=10", "data.conditions=failure")


def written(folder: Path, *, scenes: Mapping[str, int] = _SCENES, pixels: int = _PIXELS) -> Path:
    """The folder with the scenes, drawn where they are not there yet."""
    data = folder / f"scenes-seg-{_SEED}-{scenes['train']}-{pixels}"
    if not (data / "scenes-seg.json").exists():
        settings = SegScenes(pixels=pixels)
        write_seg_scenes(data, settings, scenes=scenes, failures=[*FAILURES], seed=_SEED, progress=say)
    return data


def measured(
    data: Path,
    runs: Path,
    *,
    workers: int,
    settings: tuple[str, ...] = _SETTINGS,
    variants: Sequence[str] = (),
) -> dict[str, Any]:
    """Run the experiment, or some of it, from where it was: what it found, and what can be expected."""
    config = read_experiment("seg-fusions")
    assert isinstance(config, VariantsConfig)
    kept = {name: own for name, own in config.variants.items() if name in (variants or config.variants)}
    terms = config.terms.changed(data=(str(data),), settings=settings)
    found = run_variants(replace(config, variants=kept, terms=terms), runs, num_workers=workers, progress=say)
    found = replace(found, tables=tuple(replace(one, data="scenes-seg") for one in found.tables))
    facts = json.loads((data / "scenes-seg.json").read_text("utf-8"))
    return {
        "scenes": facts["scenes"],
        "pixels": facts["settings"]["pixels"],
        "settings": list(settings),
        "ceilings": facts["ceilings"]["test"],
        "found": finite(asdict(found)),
    }


def render(results: Mapping[str, Any]) -> str:
    """The table as the package prints it, and what it is to be read beside."""
    ceilings = ", ".join(f"{name} {value:.3f}" for name, value in results["ceilings"].items())
    pixels, workers = results["pixels"], results["environment"]["workers"]
    count, settings = f"{results['scenes']['train']:,}", ", ".join(results["settings"])
    lines = [
        f"scenes-seg, seed {_SEED}, {pixels} x {pixels} pixels, {count} scenes to learn from ({settings})",
        f"The best test score that can be expected of who sees: {ceilings}",
        f"All runs trained for {trained_s(results['found']) / 60:.0f} minutes in sum, {workers} at once.",
    ]
    text = variants_text(decode(Variants, results["found"], where="found"))
    return "\n".join([*lines, "", text, "", about(results)]) + "\n"


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description="Does fusing pay for labels of pixels, and how?")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs", "seg-scenes"), help="of scenes and runs")
    options = parser.parse_args()
    found = measured(written(options.folder), options.folder / "runs", workers=options.workers)
    about_it = environment(torch.device("cpu"), _SEED) | {"workers": options.workers}
    publish({"environment": about_it, **found}, _RESULTS / "seg_scenes.json", render)


if __name__ == "__main__":
    main()
