"""``fuseloom compare``: which fusion suits these data, and does fusing pay?"""

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fuseloom.cli.progress import telling
from fuseloom.cli.reading import read_options, reading
from fuseloom.cli.stopping import stopping

if TYPE_CHECKING:
    from fuseloom.comparison.cluster import Cluster

__all__ = ["compare"]


@click.command(
    epilog="""\b
Examples:
  $ fuseloom compare
  $ fuseloom compare reviews.csv --target score --text review --tabular price,stars
  $ fuseloom compare arrays/ --fusion sum --fusion cross_attention+concat --seeds 5
  $ fuseloom compare tokens/ --fusion sum --exchange mult --depth early,late
  $ fuseloom compare posts/ --target intent --folds 'fold*' --metric auc"""
)
@click.argument("source", required=False)
@reading
@click.option(
    "--folds",
    metavar="N|COL,COL",
    help="Folds to make of the rows that are not tested (1 for a single split; by default 5 of fewer than "
    "1,000 rows), or the columns that hold them, as in 'fold*'.",
)
@click.option(
    "--task",
    type=click.Choice(["classification", "multilabel", "regression"]),
    help="Told from the target by default.",
)
@click.option("--metric", help="Default: accuracy for classes, map for lists of classes, r2 for numbers.")
@click.option(
    "--fusion",
    "fusions",
    multiple=True,
    metavar="[EXCHANGE[@DEPTH]+]MERGE[@DEPTH]",
    help="As often as you like; default: all that can take the data.",
)
@click.option(
    "--exchange",
    "exchanges",
    multiple=True,
    metavar="NAME",
    help="Add this exchange (or all) before concat at each --depth; as often as you like.",
)
@click.option(
    "--depth",
    "depths",
    metavar="early,middle,late",
    help="Where added exchanges stand: behind the first, the middle or the last stage of the encoders. "
    "Default: at each of them.",
)
@click.option(
    "--remedy",
    "remedies",
    multiple=True,
    metavar="NAME",
    help="Train the named fusions once more with this remedy for neglected modalities (or all); as often as "
    "you like. Of all fusions: concat and attention_pool.",
)
@click.option(
    "--embedding-encoder",
    type=click.Choice(["embedding", "identity"]),
    help="For given vectors: a small MLP (default), or nothing.",
)
@click.option(
    "--encoder",
    multiple=True,
    metavar="NAME=KIND[:MODEL][,OPTION=VALUE]",
    help="What encodes a modality, as in photo=timm:resnet18,frozen.",
)
@click.option(
    "--encoders",
    type=click.Choice(["joint", "pretrained", "pretrained-frozen"]),
    default="joint",
    show_default=True,
    help="Of fusions: trained with them, or starting as those of each modality alone, and kept so if frozen.",
)
@click.option(
    "--class-weight",
    type=click.Choice(["none", "balanced"]),
    default="none",
    show_default=True,
    help="Whether the loss weighs each class alike, whatever its share of the rows.",
)
@click.option(
    "--modality-dropout",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Probability that training leaves a modality of a row out.",
)
@click.option(
    "--schedule",
    type=click.Choice(["constant", "cosine", "linear"]),
    default="constant",
    show_default=True,
    help="What the learning rate does after the warm-up: stay, or fall to 0 with the last epoch.",
)
@click.option(
    "--warmup",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of the training steps over which the learning rate rises.",
)
@click.option(
    "--clip-norm",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="Norm that gradients are scaled down to; 0 leaves them.",
)
@click.option(
    "--seeds", type=click.IntRange(1), default=3, show_default=True, help="Training runs per model."
)
@click.option("--split-seed", type=int, default=0, show_default=True, help="Of splits that are made.")
@click.option(
    "--margin",
    type=float,
    default=0.01,
    show_default=True,
    help="By how much a model may be worse than the best and still count as equal.",
)
@click.option("--max-epochs", type=click.IntRange(1), default=100, show_default=True, help="Passes at most.")
@click.option(
    "--show-rows/--hide-rows", default=True, help="Whether the report shows what some rows look like."
)
@click.option("--workers", type=click.IntRange(1), help="Processes to train in; default: one per core.")
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Train on a Ray cluster instead: auto, local or HOST:PORT. The run folder must be on a shared disk.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; default: runs/NAME.")
@click.option("--overwrite", is_flag=True, help="Remove the run that the folder holds.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON.")
@stopping()
def compare(source: str | None, **options: Any) -> None:
    """Compare fusions on SOURCE with each other, with each modality alone and with a classical baseline.

    SOURCE is a CSV or TSV file, a folder with one .npy file per modality, a folder of a published data set,
    or the name of an embedded one: digits (the default), reviews, interactions, interactions-redundancy,
    interactions-unique, interactions-synergy, views, imbalanced, scenes-msa. A killed run goes on where it
    stopped; Ctrl-C leaves a report of what is finished.
    """
    from fuseloom.report import leaderboard_text, to_json
    from fuseloom.workbench import compare as run

    columns, options["folds"] = _folds(options.pop("folds"))
    read = read_options(options, fold_columns=columns)
    out, overwrite, as_json = (options.pop(name) for name in ("out", "overwrite", "as_json"))
    workers = _workers(options.pop("workers"), options.pop("ray"))
    options["depths"] = tuple(part.strip() for part in (options["depths"] or "").split(",") if part.strip())
    settings = {name: value for name, value in options.items() if value not in (None, ())}
    with telling(sys.stderr) as progress:
        result = run(
            source,
            read=read,
            out=out if out is not None else Path("runs") / Path(source or "digits").resolve().stem,
            num_workers=workers,
            overwrite=overwrite,
            command=shlex.join(["fuseloom", *sys.argv[1:]]),
            progress=progress,
            **settings,
        )
    click.echo(to_json(result) if as_json else leaderboard_text(result))


def _folds(text: str | None) -> tuple[tuple[str, ...], int | None]:
    """Columns that hold folds, or a number of folds to make."""
    if text is None or text.isdecimal():
        return (), None if text is None else int(text)
    return tuple(name.strip() for name in text.split(",")), None


def _workers(number: int | None, address: str | None) -> "int | Cluster":
    from fuseloom.comparison.cluster import Cluster

    if address is None:
        return number if number is not None else _num_cores()
    if number is not None:
        raise click.UsageError("--workers counts processes here; a cluster (--ray) has its own. Give one.")
    return Cluster(address=address)


def _num_cores() -> int:
    """Cores this process may use; not every system tells those from all cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
