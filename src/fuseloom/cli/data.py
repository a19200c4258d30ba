"""``fuseloom data``: what data hold, what is wrong with them, and data to try things on."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fuseloom.cli.reading import read_options, reading

if TYPE_CHECKING:
    from fuseloom.data import Dataset

__all__ = ["data"]

_APPLES = "apples"
_FOLDS = click.option("--folds", metavar="COL,COL", help="Columns that hold folds, as in 'fold*'.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")


@click.group(
    epilog="""\b
Examples:
  $ fuseloom data describe reviews.csv --target score
  $ fuseloom data check posts/ --target intent --folds 'fold*'
  $ fuseloom data make apples apples/"""
)
def data() -> None:
    """Describe data, check them, or make some, before anything is trained."""


@data.command(
    "describe",
    epilog="""\b
Example:
  $ fuseloom data describe reviews.csv --target score --text review""",
)
@click.argument("source", required=False)
@reading
@_FOLDS
@_JSON
def _describe(source: str | None, **options: Any) -> None:
    """Say what SOURCE holds, as `compare` would read it, and which option reads it otherwise."""
    from fuseloom.cli.describing import description_text
    from fuseloom.data.description import describe as described

    as_json = options.pop("as_json")
    found = described(_read(source, options))
    click.echo(_as_json(found) if as_json else description_text(found))


@data.command(
    "check",
    epilog="""\b
Examples:
  $ fuseloom data check reviews.csv --target score
  $ fuseloom data check photos.csv --target species --group site --strict""",
)
@click.argument("source", required=False)
@reading
@_FOLDS
@click.option("--strict", is_flag=True, help="Status 1 on warnings too.")
@_JSON
def _check(source: str | None, **options: Any) -> None:
    """Look for what is wrong with SOURCE: status 0 without errors, 1 with some.

    Errors are rows that cannot be read, the same content or group in two splits, inputs that give the target
    away, files joined to the wrong rows, and classes that are never trained. Warnings are numbers that are
    not finite, columns of one value, rare classes, copies, rows without a target, and files that rows are
    kept without.
    """
    from fuseloom.cli.describing import check_text
    from fuseloom.data.checks import check as checked

    as_json, strict = options.pop("as_json"), options.pop("strict")
    result = checked(_read(source, options))
    click.echo(_as_json(result) if as_json else check_text(result))
    sys.exit(result.count("error") > 0 or (strict and len(result.findings) > 0))


@data.command(
    "make",
    epilog="""\b
Examples:
  $ fuseloom data make apples apples/
  $ fuseloom compare apples/rows.csv --target grade
\b
  $ fuseloom data make av-digits/ noisy/ --image-noise 0.5 --audio-snr-db 2
  $ fuseloom compare noisy/rows.csv --target digit""",
)
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--rows", type=click.IntRange(1), help="Default: 900 apples, or a pair per recording.")
@click.option("--image-noise", default=0.0, show_default=True, help="Deviation; 1 is black to white.")
@click.option("--occlusion", default=0.0, show_default=True, help="Side of a grey square, as a share.")
@click.option("--audio-snr-db", type=float, help="Decibels of signal over white noise; default: no noise.")
@click.option(
    "--held-out",
    type=click.Choice(["speakers", "recordings"]),
    default="speakers",
    show_default=True,
    help="What no two splits share, besides pictures.",
)
@click.option("--seed", default=0, show_default=True, help="Of all that is drawn.")
@click.pass_context
def _make(context: click.Context, /, source: Path, out: Path, **options: Any) -> None:
    """Write data to try things on into the folder OUT.

    SOURCE `apples` gives pictures and a table of graded apples, drawn, with the faults that such folders
    have. SOURCE as the folder of av-digits gives its pictures and recordings in pairs, under noise.
    """
    if str(source) == _APPLES:
        table = _written_apples(context, out, options)
        click.echo(f"apples to learn from in {table}, others in later.csv and new.csv beside it")
        return
    from fuseloom.data.av_digits import make_av_digits
    from fuseloom.data.writing import write_av_digits

    rows = make_av_digits(source, **options)
    table = write_av_digits(rows, out)
    click.echo(f"{len(rows.ids):,} pairs in {table}")


def _written_apples(context: click.Context, out: Path, options: dict[str, Any]) -> Path:
    from click.core import ParameterSource

    from fuseloom.data.writing import write_apples

    given = {n: v for n, v in options.items() if context.get_parameter_source(n) != ParameterSource.DEFAULT}
    if others := sorted(given.keys() - {"rows", "seed"}):
        option = others[0].replace("_", "-")
        raise click.UsageError(f"--{option} is for av-digits, apples take --rows and --seed.")
    return write_apples(out, **given)


def _read(source: str | None, options: dict[str, Any]) -> "Dataset":
    from fuseloom.data import load

    folds = options.pop("folds")
    columns = () if folds is None else tuple(name.strip() for name in folds.split(","))
    return load(source, read_options(options, fold_columns=columns))


def _as_json(found: Any) -> str:
    return json.dumps(asdict(found), indent=1, ensure_ascii=False)
