"""``fuseloom train``: one model, by a recipe or on data of your own."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fuseloom.cli.reading import read_options, reading

if TYPE_CHECKING:
    from fuseloom.comparison.recipe_run import RecipeResult

__all__ = ["result_text", "train"]

_CELL = 8
_KEYS = {
    "data": "data.source",
    "fusion": "model.fusion",
    "task": "data.task",
    "fraction": "data.fraction",
    "seed": "fit.seed",
    "schedule": "fit.schedule",
    "warmup": "fit.warmup",
    "clip_norm": "fit.clip_norm",
}


@click.command(
    epilog="""\b
Examples:
  $ fuseloom train digits
  $ fuseloom train digits --set fit.lr=1e-3 --set model.fusion=film --fraction 0.1
  $ fuseloom train entities --data twitter2017
  $ fuseloom train my.yaml --seed 1 --out runs/second
  $ fuseloom train reviews.csv --target score --text review --tabular price,stars --fusion film"""
)
@click.argument("source", metavar="RECIPE_OR_DATA")
@click.option("--data", metavar="FILE_OR_FOLDER", help="Short for --set data.source=... of a recipe.")
@click.option("--set", "settings", multiple=True, metavar="KEY.SUB=VALUE", help="Change a setting.")
@click.option("--fusion", metavar="[EXCHANGE[@DEPTH]+]MERGE[@DEPTH]", help="Short for --set model.fusion=...")
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    metavar="NAME=KIND[:MODEL][,OPTION=VALUE]",
    help="What encodes a modality, as in photo=timm:resnet18,frozen.",
)
@reading
@click.option("--task", help="Told from the target by default.")
@click.option("--fraction", type=float, help="Share of the training and validation rows, by class.")
@click.option("--seed", type=int, help="Of the weights, the order of rows and dropout.")
@click.option("--schedule", help="Of the learning rate: constant, cosine or linear.")
@click.option("--warmup", type=float, help="Share of the steps over which the learning rate rises.")
@click.option("--clip-norm", type=float, help="Norm that gradients are scaled down to; 0 leaves them.")
@click.option("--logger", "loggers", multiple=True, metavar="NAME", help="tensorboard or mlflow.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; default: runs/train-NAME.")
@click.option("--overwrite", is_flag=True, help="Remove the run that the folder holds.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def train(source: str, settings: tuple[str, ...], **options: Any) -> None:
    """Train one model: RECIPE_OR_DATA is a recipe (a name or a YAML file) or data as `compare` takes them.

    A killed run goes on where it stopped, in the middle of an epoch, to the very same weights. The run
    folder holds the resolved recipe, the losses of each epoch, checkpoints, the test predictions, all
    scores and the model, which `fuseloom predict` serves. `fuseloom recipe NAME` prints a recipe.
    """
    import json
    from dataclasses import asdict

    from fuseloom.comparison.recipe_run import run_recipe

    out, overwrite, as_json = (options.pop(name) for name in ("out", "overwrite", "as_json"))
    recipe = _recipe(source, [*_overrides(options), *settings])
    result = run_recipe(
        recipe,
        out if out is not None else Path("runs") / f"train-{recipe.name}",
        overwrite=overwrite,
        progress=lambda line: click.echo(line, err=True),
    )
    if result is not None:
        click.echo(json.dumps(asdict(result), indent=1) if as_json else result_text(result))


def result_text(result: "RecipeResult") -> str:
    """Scores of a run as a table for a terminal."""
    metrics = list(result.scores["test"])
    wide = max(map(len, metrics))
    loss = "none (diverged)" if result.valid_loss is None else f"{result.valid_loss:.4f}"
    rows = ", ".join(f"{count} {split}" for split, count in result.rows.items())
    head = (
        f"{result.name}, seed {result.seed}: {result.epochs} epochs in {result.train_s:.1f} s, "
        f"{result.parameters:,} parameters, validation loss {loss}\nrows: {rows}\n"
    )
    columns = {split: max(len(split), _CELL) for split in result.scores}
    lines = ["  ".join([" " * wide, *(f"{split:>{width}}" for split, width in columns.items())])]
    for metric in metrics:
        cells = (_cell(result.scores[split][metric], width) for split, width in columns.items())
        lines.append("  ".join([f"{metric:{wide}}", *cells]))
    return head + "\n" + "\n".join(lines)


def _cell(score: float | None, width: int) -> str:
    return f"{'-':>{width}}" if score is None else f"{score:{width}.4f}"


def _recipe(source: str, overrides: list[str]) -> Any:
    from fuseloom.train.recipe import list_recipes, read_recipe

    if source.endswith((".yaml", ".yml")) or source in list_recipes():
        return read_recipe(source, overrides)
    named = [f"data.source={source}", f"name={Path(source).resolve().stem}"]
    return read_recipe(None, [*named, *overrides])


def _overrides(options: dict[str, Any]) -> list[str]:
    """The settings that short options stand for."""
    import json

    found = [f"{key}={options[name]}" for name, key in _KEYS.items() if options[name] is not None]
    read = vars(read_options(options))
    told = {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in read.items() if value
    }
    found += [f"data.read.{name}={value}" for name, value in told.items()]
    if options["encoders"]:
        named = dict(_named(text) for text in options["encoders"])
        found.append(f"model.encoders={json.dumps(named)}")
    return [*found, *([f"trainer.loggers={json.dumps(options['loggers'])}"] if options["loggers"] else [])]


def _named(text: str) -> tuple[str, str]:
    name, equals, spec = text.partition("=")
    if not equals:
        raise click.BadParameter(f"must be NAME=KIND, got {text!r}.", param_hint="--encoder")
    return name.strip(), spec.strip()
