"""``fuseloom convert``: an official checkpoint becomes a model that the other verbs read."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fuseloom.train.converted import Conversion

__all__ = ["convert"]


@click.command(
    epilog="""\b
Examples:
  $ fuseloom list --kind converter
  $ fuseloom convert mro.pth models/mood --system mro --modality image=512 --modality text=768 --dry-run
  $ fuseloom convert mro.pth models/mood --system mro --modality image --modality text --target valence
  $ fuseloom convert 7.pth models/intent --system mro --modality image --modality text --target intent \\
      --class provoke --class inform
  $ fuseloom convert model_best.bin models/sentiment --system muse --modality text --modality image \\
      --option language=bert-base-uncased/ --target sentiment \\
      --class positive --class neutral --class negative
  $ fuseloom predict models/mood rows.npz"""
)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--system", required=True, metavar="NAME", help="As `fuseloom list --kind converter` names it.")
@click.option(
    "--modality",
    "modalities",
    multiple=True,
    required=True,
    metavar="NAME[=WIDTH]",
    help="Each input, in the order of the official code; a width is checked.",
)
@click.option(
    "--class", "classes", multiple=True, metavar="NAME", help="Each class, in the order of outputs."
)
@click.option(
    "--target", "targets", multiple=True, metavar="NAME", help="Column of the answer, or of each number."
)
@click.option(
    "--option",
    "options_told",
    multiple=True,
    metavar="NAME=VALUE",
    help="What no weight tells, of systems that have such.",
)
@click.option("--dry-run", is_flag=True, help="Print which weight becomes which, and write nothing.")
@click.option("--overwrite", is_flag=True, help="Replace the model that OUT holds.")
def convert(checkpoint: Path, out: Path, **options: object) -> None:
    """Make OUT, a saved model, of CHECKPOINT, a file of a published system's official code.

    CHECKPOINT is a .safetensors or .npz file, or the weights that torch.save wrote. Nothing in it is
    executed: a file that holds a whole model instead of its weights is refused. Every weight must find its
    place, or nothing is written.
    """
    _check_free(out, overwrite=bool(options["overwrite"]) or bool(options["dry_run"]))
    from fuseloom.train.converted import convert_checkpoint

    done = convert_checkpoint(
        checkpoint,
        str(options["system"]),
        modalities=_widths(_texts(options["modalities"])),
        classes=_texts(options["classes"]),
        targets=_texts(options["targets"]),
        options=_values(_texts(options["options_told"])),
    )
    if options["dry_run"]:
        click.echo("\n".join(_mapping(done)))
        return
    done.saved.save(out)
    weights = sum(len(piece.sources) for piece in done.pieces)
    click.echo(f"{weights} weights of {checkpoint.name} are in {out}. Next: fuseloom predict {out} ROWS")


def _texts(found: object) -> tuple[str, ...]:
    assert isinstance(found, tuple)
    return found


def _widths(entries: tuple[str, ...]) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for entry in entries:
        name, equals, width = entry.partition("=")
        if equals and not width.isdecimal():
            raise click.BadParameter(f"must be NAME or NAME=WIDTH, got {entry!r}.", param_hint="--modality")
        if name in found:
            raise click.BadParameter(f"must name each modality once, got {name!r}.", param_hint="--modality")
        found[name] = int(width) if equals else None
    return found


def _values(entries: tuple[str, ...]) -> dict[str, Any]:
    """Numbers as numbers, all else as text."""
    found: dict[str, Any] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not equals or name in found:
            raise click.BadParameter(
                f"must be NAME=VALUE, each name once, got {entry!r}.", param_hint="--option"
            )
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _check_free(out: Path, *, overwrite: bool) -> None:
    from fuseloom.errors import RunError

    if not overwrite and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(
            f"{out} must be a new or empty folder, got one that holds something. Choose another, or pass "
            "--overwrite."
        )


def _mapping(done: "Conversion") -> Iterator[str]:
    """A line for each of our weights, with the official ones that it is made of."""
    rows = []
    for piece in done.pieces:
        source = " + ".join(piece.sources)
        shapes = {own: "x".join(map(str, value.shape)) for own, value in piece.weights.items()}
        rows += [(source, own, shape) for own, shape in (shapes or {"(not used)": ""}).items()]
    wide = [max(len(row[place]) for row in rows) for place in (0, 1)]
    for source, own, shape in rows:
        yield f"{source:{wide[0]}}  ->  {own:{wide[1]}}  {shape}".rstrip()
