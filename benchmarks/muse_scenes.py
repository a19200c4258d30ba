"""What MuSE reaches on generated scenes, and what each of its parts is worth there.

Each table is an experiment of the package with the small model of `muse-small`, three runs of each way,
on a set drawn from a seed of which no model had seen a row before. As the published runs begin with encoders
that have seen other pictures, so do these: one run of `things` on pictures of the same world, in which no
name and no sentiment is told; for `msa` it goes on for three more lessons, of pictures that are changed more.
Beside the scores stands what the best reader of the text alone, and of both,
can expect. Finished runs are journalled in the folder: killed, a table goes on where it was. Stored are the
scores of each run, not the models.

    python benchmarks/muse_scenes.py ner --workers 2
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from program import publish, say
from tables import about
from timing import environment

from fuseloom.comparison.experiments import read_experiment
from fuseloom.comparison.recipe_run import RecipeResult, run_recipe
from fuseloom.comparison.sweep import Sweep, run_sweep
from fuseloom.comparison.variants import Variants, VariantsConfig, run_variants
from fuseloom.data.scenes.sets import write_scenes
from fuseloom.report.decode import decode
from fuseloom.report.experiments.text import sweep_text, variants_text
from fuseloom.train.recipe import read_recipe

__all__ = ["TABLES", "ScenesTable", "drawn", "finite", "main", "measured", "render", "seeing", "trained_s"]

_RESULTS = Path(__file__).parent / "results"
_SEEN = "scenes-things"
_PICTURES = 25_000
_RATE = 0.1
"""Of the encoder that has seen pictures, beside that of what begins from nothing."""


def _changed(colours: Mapping[str, Any]) -> str:
    """The setting that pictures are learnt from in other colours, mirrored, and in part."""
    transforms = {
        "RandomHorizontalFlip": {},
        "RandomChannelPermutation": {},
        **colours,
        "RandomResizedCrop": {"size": 64, "scale": [0.6, 1.0], "ratio": [0.9, 1.1]},
    }
    return f"fit.augment.image={json.dumps(transforms)}"


_TURNED = {"brightness": 0.3, "contrast": 0.2, "saturation": 0.3, "hue": 0.5}
_FURTHER = _changed({"RandomGrayscale": {"p": 0.4}, "ColorJitter": _TURNED})
_SATURATED = {"brightness": [0.7, 1.6], "contrast": 0.2, "saturation": [0.3, 3.0], "hue": 0.5}
_WHITENED = _changed({"ColorJitter": _SATURATED, "RandomGrayscale": {"p": 0.5}})
"""Strong colours are bright when they are made grey, so that some of all things are seen in white: of some
kinds no picture to learn from has a white one, which nothing else that is done to colours makes."""
_LESSONS = (
    (_FURTHER, "fit.max_epochs=30", "fit.lr=7e-4"),
    (_FURTHER, "fit.max_epochs=30", "fit.lr=7e-4"),
    (_WHITENED, "fit.max_epochs=20", "fit.lr=7e-4"),
)
"""Changes of `things` in the lessons behind the first."""


@dataclass(frozen=True, kw_only=True)
class ScenesTable:
    """An experiment, and the rows that it is run on."""

    experiment: str
    """Of variants, or a sweep."""
    set: str = "scenes-ner"
    """Of generated scenes."""
    data_seed: int = 1
    eye_seed: int = 1
    """Of the pictures from which image encoders have learnt."""
    lessons: int = 1
    """How many runs of `things` there were, each from where the last one ended."""
    rows: int = 50_000
    variants: Sequence[str] = ()
    """Which of them; by default all."""
    settings: Sequence[str] = ()
    """Changes to all runs."""


TABLES: Mapping[str, ScenesTable] = {
    "ner": ScenesTable(
        experiment="muse-ablations",
        variants=("MuSE", "text alone"),
        settings=("fit.max_epochs=4",),
    ),
    "ablations": ScenesTable(experiment="muse-ablations", settings=("fit.max_epochs=2",)),
    "msa_ablations": ScenesTable(
        experiment="muse-ablations",
        set="scenes-msa",
        data_seed=2,
        rows=20_000,
        settings=("fit.max_epochs=3", "model.options.muse.num_layers=2"),
    ),
    "msa": ScenesTable(
        experiment="muse-ablations",
        set="scenes-msa",
        data_seed=4,
        lessons=4,
        rows=100_000,
        variants=("MuSE", "text alone"),
        settings=("fit.max_epochs=4", "model.options.muse.num_layers=2", _WHITENED),
    ),
}
"""Name -> what is run, and how much of it, so that it takes at most an hour on two cores."""


def drawn(name: str, folder: Path, *, rows: int, seed: int) -> Path:
    """The folder with so many rows of a set, written where it is not there yet."""
    data = folder / f"{name}-{seed}-{rows}"
    if not (data / f"{name}.json").exists():
        write_scenes(name, data, rows=rows, seed=seed, progress=say)
    return data


def seeing(
    folder: Path, *, rows: int, seed: int, lessons: int = 1, settings: Sequence[str] = ()
) -> tuple[Path, RecipeResult]:
    """A run whose encoder knows what things there are, trained where it is not there yet.

    Returns:
        The run of the last lesson, and its scores with the time of all lessons.
    """
    data, run = drawn(_SEEN, folder, rows=rows, seed=seed), folder / f"things-{seed}-{rows}"
    source, spent = f"data.source={data}", 0.0
    result = run_recipe(read_recipe("things", [source, *settings]), run, progress=say)
    for lesson, changes in enumerate(_LESSONS[: lessons - 1], start=2):
        assert result is not None
        spent += result.train_s
        further = [source, *changes, f"model.start.image={run}", *settings]
        run = folder / f"things-{seed}-{rows}-{lesson}"
        result = run_recipe(read_recipe("things", further), run, progress=say)
    assert result is not None
    return run, replace(result, train_s=result.train_s + spent)


def measured(table: ScenesTable, data: Path, eye: Path, runs: Path, *, workers: int) -> dict[str, Any]:
    """Run the experiment from where it was: what it found, and what is the most to be expected."""
    config = read_experiment(table.experiment)
    terms = config.terms.changed(
        recipe="muse-small",
        data=(str(data),),
        settings=(f"model.start.image={eye}", f"fit.rates.encoders.image={_RATE}", *table.settings),
    )
    ceilings = json.loads((data / f"{table.set}.json").read_text("utf-8"))["ceilings"]["test"]
    found: Variants | Sweep
    if isinstance(config, VariantsConfig):
        wanted = table.variants or config.variants
        kept = {name: own for name, own in config.variants.items() if name in wanted}
        config = replace(config, variants=kept, terms=terms)
        found = run_variants(config, runs, num_workers=workers, progress=say)
        found = replace(found, tables=tuple(replace(one, data=table.set) for one in found.tables))
    else:
        found = run_sweep(replace(config, terms=terms), runs, num_workers=workers, progress=say)
        found = replace(found, courses=tuple(replace(one, data=table.set) for one in found.courses))
    return {"table": asdict(table), "ceilings": ceilings, "found": finite(asdict(found))}


def finite(value: Any) -> Any:
    """The same, as JSON knows it: None for a number that is not finite."""
    if isinstance(value, Mapping):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def render(results: Mapping[str, Any]) -> str:
    """The tables as the package prints them, and what they are to be read beside."""
    terms, found, things = results["table"], results["found"], results["things"]
    if "tables" in found:
        text = variants_text(decode(Variants, found, where="found"))
    else:
        text = sweep_text(decode(Sweep, found, where="found"))
    ceilings = ", ".join(f"{name} {value:.3f}" for name, value in results["ceilings"].items())
    shown = [one for one in terms["settings"] if "augment" not in one]
    settings = f" ({', '.join(shown)})" if shown else ""
    pictures, minutes = f"{things['pictures']:,}", things["train_s"] / 60
    workers = results["environment"]["workers"]
    lines = [
        f"{terms['set']}, seed {terms['data_seed']}, {terms['rows']:,} rows{settings}",
        f"The best test score that can be expected of who reads: {ceilings}",
        f"Image encoders begin with what {pictures} other pictures showed, in {minutes:.0f} minutes.",
        f"All runs trained for {trained_s(found) / 60:.0f} minutes in sum, {workers} at once.",
    ]
    return "\n".join([*lines, "", text, "", about(results)]) + "\n"


def trained_s(found: Mapping[str, Any]) -> float:
    """Seconds of training, of all runs of all variants or cells."""
    rows = [row for table in found.get("tables", ()) for row in table["variants"]]
    rows += [cell for course in found.get("courses", ()) for cell in course["cells"]]
    return sum(run["train_s"] for row in rows for run in row["runs"])


def main() -> None:
    """Run one table."""
    parser = argparse.ArgumentParser(description="What is each part of MuSE worth on generated scenes?")
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs", "muse-scenes"), help="of rows and runs")
    options = parser.parse_args()
    table = TABLES[options.table]
    folder = options.folder
    data = drawn(table.set, folder, rows=table.rows, seed=table.data_seed)
    eye, seen = seeing(folder, rows=_PICTURES, seed=table.eye_seed, lessons=table.lessons)
    found = measured(table, data, eye, folder / f"runs-{options.table}", workers=options.workers)
    found["things"] = {"pictures": _PICTURES, "train_s": seen.train_s, "test": seen.scores["test"]}
    about_it = environment(torch.device("cpu"), table.data_seed) | {"workers": options.workers}
    publish({"environment": about_it, **found}, _RESULTS / f"muse_scenes_{options.table}.json", render)


if __name__ == "__main__":
    main()
