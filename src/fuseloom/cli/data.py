"""``fuseloom data``: what data hold, what is wrong with them, and data to try things on."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fuseloom.cli.progress import telling
from fuseloom.cli.reading import read_options, reading

if TYPE_CHECKING:
    from fuseloom.data import Dataset

__all__ = ["data"]

_DRAWN = ("apples", "scenes-msa", "scenes-ner", "scenes-things")
"""What `make` needs no data for; by name, as help imports none of it."""
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
    away, files joined to the wrong rows, maps of different shapes, and classes that are never trained.
    Warnings are numbers that are not finite, columns of one value, rare classes, pixels that do not count,
    copies, rows without a target, and files that rows are kept without.
    """
    from fuseloom.cli.describing import check_text
    from fuseloom.data.checks import check as checked

    as_json, strict = options.pop("as_json"), options.pop("strict")
    result = checked(_read(source, options))
    click.echo(_as_json(result) if as_json else check_text(result))
    wrong = len(result.findings) if strict else result.count("error")
    sys.exit(1 if wrong else 0)


@data.command(
    "make",
    epilog="""\b
Examples:
  $ fuseloom data make apples apples/
  $ fuseloom compare apples/rows.csv --target grade
\b
  $ fuseloom data make scenes-ner scenes/ --rows 2000 --seed 1
  $ fuseloom train entities --data scenes/
\b
  $ fuseloom data make av-digits/ noisy/ --image-noise 0.5 --audio-snr-db 2
  $ fuseloom compare noisy/rows.csv --target digit""",
)
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--rows", type=click.IntRange(1), help="Default: 900 apples, 10,000 scenes, a pair per recording."
)
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
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all that is drawn.")
@click.pass_context
def _make(context: click.Context, /, source: Path, out: Path, **options: Any) -> None:
    """Write data to try things on into the folder OUT.

    SOURCE `apples` gives pictures and a table of graded apples, drawn, with the faults that such folders
    have. `scenes-ner` gives rendered pictures with sentences of which names they are, in the format of the
    Twitter sets, and `scenes-msa` with texts of a sentiment, in that of MVSA; both say what can be expected
    of the best model. `scenes-things` gives pictures of the same world and what they show, for encoders to
    learn from. SOURCE as the folder of av-digits gives its pictures and recordings in pairs, under
    noise.
    """
    name = str(source)
    if name in _DRAWN:
        drawn = _given(context, name, options)
        click.echo(_written_apples(out, drawn) if name == "apples" else _written_scenes(name, out, drawn))
        return
    from fuseloom.data.av_digits import make_av_digits
    from fuseloom.data.writing import write_av_digits

    rows = make_av_digits(source, **options)
    table = write_av_digits(rows, out)
    click.echo(f"{len(rows.ids):,} pairs in {table}")


def _given(context: click.Context, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options that a person gave, which must be of those that everything drawn takes."""
    from click.core import ParameterSource

    given = {n: v for n, v in options.items() if context.get_parameter_source(n) != ParameterSource.DEFAULT}
    if others := sorted(given.keys() - {"rows", "seed"}):
        option = others[0].replace("_", "-")
        raise click.UsageError(f"--{option} is for av-digits, {name} take --rows and --seed.")
    return given


def _written_apples(out: Path, options: dict[str, Any]) -> str:
    from fuseloom.data.writing import write_apples

    table = write_apples(out, **options)
    return f"apples to learn from in {table}, others in later.csv and new.csv beside it"


def _written_scenes(name: str, out: Path, options: dict[str, Any]) -> str:
    """What can be expected, as a table."""
    from fuseloom.data.scenes.sets import SCENE_SETS, write_scenes

    with telling(sys.stderr) as progress:
        stated = write_scenes(name, out, progress=progress, **options)
    readers = list(stated["train"])
    lines = [
        f"{name} in {out}; the best {SCENE_SETS[name].score} that can be expected, by what is read:",
        " " * 5 + "".join(f"  {reader:>6}" for reader in readers),
        *(
            f"{split:5}" + "".join(f"  {best[reader]:6.4f}" for reader in readers)
            for split, best in stated.items()
        ),
    ]
    return "\n".join(lines)


def _read(source: str | None, options: dict[str, Any]) -> "Dataset":
    from fuseloom.data import load

    folds = options.pop("folds")
    columns = () if folds is None else tuple(name.strip() for name in folds.split(","))
    return load(source, read_options(options, fold_columns=columns))


def _as_json(found: Any) -> str:
    return json.dumps(asdict(found), indent=1, ensure_ascii=False)
