"""``fuseloom compare``: which fusion suits these data, and does fusing pay?"""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click

__all__ = ["compare"]

_READ = ("target", "text", "tabular", "id_column", "split_column")


@click.command(
    epilog="""\b
Examples:
  $ fuseloom compare
  $ fuseloom compare reviews.csv --target score --text review --tabular price,stars
  $ fuseloom compare arrays/ --fusion sum --fusion cross_attention+concat --seeds 5
  $ fuseloom compare posts/ --target intent --folds 'fold*' --metric auc"""
)
@click.argument("source", required=False)
@click.option("--target", help="Column to predict, or key of labels.csv.")
@click.option("--text", multiple=True, metavar="[NAME=]COL", help="A text column: one modality each.")
@click.option(
    "--tabular", multiple=True, metavar="[NAME=]COL,COL", help="Number and category columns: one modality."
)
@click.option("--kind", "kinds", multiple=True, metavar="COL=KIND", help="number, category, text or ignore.")
@click.option("--id", "id_column", metavar="COL", help="Column that names the rows.")
@click.option("--split", "split_column", metavar="COL", help="Column with train, valid and test.")
@click.option(
    "--folds", metavar="N|COL,COL", help="Folds to make, or the columns that hold them, as in 'fold*'."
)
@click.option(
    "--task", type=click.Choice(["classification", "regression"]), help="Told from the target by default."
)
@click.option("--metric", help="Default: accuracy for classes, r2 for numbers.")
@click.option(
    "--fusion",
    "fusions",
    multiple=True,
    metavar="[EXCHANGE+]MERGE",
    help="As often as you like; default: all that can take the data.",
)
@click.option(
    "--embedding-encoder",
    type=click.Choice(["embedding", "identity"]),
    help="For given vectors: a small MLP (default), or nothing.",
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
    help="How far below the best still counts as good.",
)
@click.option("--max-epochs", type=click.IntRange(1), default=100, show_default=True, help="Passes at most.")
@click.option("--workers", type=click.IntRange(1), help="Processes to train in; default: one per core.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; default: runs/NAME.")
@click.option("--overwrite", is_flag=True, help="Remove the run that the folder holds.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON.")
def compare(source: str | None, **options: Any) -> None:
    """Compare fusions on SOURCE with each other, with each modality alone and with a classical baseline.

    SOURCE is a CSV or TSV file, a folder with one .npy file per modality, a folder of a published data set,
    or the name of an embedded one: digits (the default), reviews, interactions, interactions-redundancy,
    interactions-unique, interactions-synergy. A killed run goes on where it stopped.
    """
    from fuseloom.data import ReadOptions
    from fuseloom.report import leaderboard_text, to_json
    from fuseloom.workbench import compare as run

    columns, options["folds"] = _folds(options.pop("folds"))
    kinds = _kinds(options.pop("kinds"))
    read = ReadOptions(kinds=kinds, fold_columns=columns, **{name: options.pop(name) for name in _READ})
    out, overwrite, as_json = (options.pop(name) for name in ("out", "overwrite", "as_json"))
    workers = options.pop("workers") or _num_cores()
    result = run(
        source,
        read=read,
        out=out if out is not None else Path("runs") / Path(source or "digits").resolve().stem,
        num_workers=workers,
        overwrite=overwrite,
        command=shlex.join(["fuseloom", *sys.argv[1:]]),
        progress=lambda line: click.echo(line, err=True),
        **{name: value for name, value in options.items() if value not in (None, ())},
    )
    click.echo(to_json(result) if as_json else leaderboard_text(result))


def _folds(text: str | None) -> tuple[tuple[str, ...], int | None]:
    """Columns that hold folds, or a number of folds to make."""
    if text is None or text.isdecimal():
        return (), None if text is None else int(text)
    return tuple(name.strip() for name in text.split(",")), None


def _num_cores() -> int:
    """Cores this process may use; not every system tells those from all cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _kinds(pairs: tuple[str, ...]) -> dict[str, Any]:
    kinds = {}
    for pair in pairs:
        column, equals, kind = pair.rpartition("=")
        if not equals or kind not in ("number", "category", "text", "ignore"):
            raise click.BadParameter(
                f"must be COLUMN=KIND with number, category, text or ignore, got {pair!r}.",
                param_hint="--kind",
            )
        kinds[column] = kind
    return kinds
