"""``fuseloom recipe``: the recipes and the experiments that come with the package."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fuseloom.cli.stopping import stopping

if TYPE_CHECKING:
    from fuseloom.comparison.emap_table import EmapTable, EmapTableConfig
    from fuseloom.comparison.variants import VariantsConfig

__all__ = ["emap_table_text", "recipe"]


@click.command(
    epilog="""\b
Examples:
  $ fuseloom recipe
  $ fuseloom recipe digits > my.yaml
  $ fuseloom recipe emap-table instagram/
  $ fuseloom recipe muse-ablations tweets/ --recipe muse-small
  $ fuseloom recipe my-ablation.yaml first.csv second.csv --seeds 3
  $ fuseloom recipe my-ablation.yaml --run"""
)
@click.argument("name", required=False)
@click.argument("data", nargs=-1)
@click.option("--run", is_flag=True, help="Run an experiment on the data that it names itself.")
@click.option("--recipe", "base", metavar="RECIPE", help="Of all runs, instead of the experiment's own.")
@click.option("--set", "settings", multiple=True, metavar="KEY.SUB=VALUE", help="Change it for all runs.")
@click.option("--seeds", type=click.IntRange(1), help="Runs of each model; default: the experiment's.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; default: runs/NAME.")
@click.option("--overwrite", is_flag=True, help="Remove the run that the folder holds.")
@click.option("--json", "as_json", is_flag=True, help="Print an experiment's table as JSON.")
@stopping()
def recipe(name: str | None, data: tuple[str, ...], run: bool, **options: Any) -> None:
    """Print the recipe NAME as YAML, or run the experiment NAME on DATA and print its table.

    NAME may be a YAML file of your own. A recipe says where each of its numbers comes from; `fuseloom train`
    takes it. An experiment trains what its paper compared: variants of a recipe against a reference, on each
    of several DATA; `fuseloom sweep` takes those of kind `sweep`. Killed, it goes on where it was. Without
    NAME all are listed.
    """
    from fuseloom.comparison.experiments import experiment_text, is_experiment
    from fuseloom.errors import OptionError
    from fuseloom.train.recipe import recipe_text

    if name is None:
        click.echo(_listed())
    elif data or run:
        if not is_experiment(name):
            given = repr(data[0]) if data else "--run"
            raise OptionError(f"DATA must be given to an experiment only, got {given} for {name!r}.")
        _run(name, data, **options)
    else:
        click.echo(experiment_text(name) if is_experiment(name) else recipe_text(name), nl=False)


def _listed() -> str:
    from fuseloom.comparison.experiments import experiment_kind, list_experiments, summary_of
    from fuseloom.train.recipe import list_recipes, read_recipe

    about = {name: ("recipe", read_recipe(name).summary) for name in list_recipes()}
    about |= {name: (experiment_kind(name), summary_of(name)) for name in list_experiments()}
    wide = max(map(len, about))
    return "\n".join(f"{name:{wide}}  {kind:10}  {summary}" for name, (kind, summary) in about.items())


def _run(name: str, data: tuple[str, ...], **options: Any) -> None:
    from fuseloom.comparison.emap_table import EmapTableConfig
    from fuseloom.comparison.experiments import read_experiment
    from fuseloom.comparison.sweep import SweepConfig
    from fuseloom.errors import OptionError

    config = read_experiment(name)
    if isinstance(config, SweepConfig):
        given = "".join(f" --data {one}" for one in data)
        raise OptionError(f"{name} must be an experiment with a table. Try: fuseloom sweep {name}{given}")
    if isinstance(config, EmapTableConfig):
        _run_emap_table(name, data, config, **options)
    else:
        _run_variants(config, data, **options)


def _run_variants(config: "VariantsConfig", data: tuple[str, ...], **options: Any) -> None:
    from dataclasses import replace

    from fuseloom.comparison.variants import run_variants
    from fuseloom.report.as_json import to_json
    from fuseloom.report.experiments.text import variants_text
    from fuseloom.report.folder import write_variants

    terms = config.terms.changed(
        recipe=options["base"], data=data, seeds=options["seeds"], settings=options["settings"]
    )
    folder = options["out"] if options["out"] is not None else Path("runs", config.name)
    found = run_variants(
        replace(config, terms=terms),
        folder,
        num_workers=options["workers"],
        overwrite=options["overwrite"],
        progress=lambda line: click.echo(line, err=True),
    )
    write_variants(found, folder)
    click.echo(f"page: {folder / 'variants.html'}", err=True)
    click.echo(to_json(found) if options["as_json"] else variants_text(found), nl=not options["as_json"])


def _run_emap_table(name: str, data: tuple[str, ...], config: "EmapTableConfig", **options: Any) -> None:
    import json
    from dataclasses import asdict, replace

    from fuseloom.comparison.emap_table import emap_table
    from fuseloom.errors import OptionError

    if len(data) != 1 or options["base"] or options["settings"] or options["overwrite"]:
        raise OptionError(f"{name} must be given one DATA, and no --run, --recipe, --set or --overwrite.")
    found = emap_table(
        data[0],
        options["out"] if options["out"] is not None else Path("runs", name),
        config if options["seeds"] is None else replace(config, seeds=options["seeds"]),
        num_workers=options["workers"],
        progress=lambda line: click.echo(line, err=True),
    )
    click.echo(json.dumps(asdict(found), indent=1) if options["as_json"] else emap_table_text(found))


def emap_table_text(table: "EmapTable") -> str:
    """The table as text: what was measured, then what is published."""
    columns = table.columns
    names = list(columns[0].scores)
    wide = max(map(len, [*names, *table.published.rows]))
    measured = [f"{'':{wide}}" + "".join(f"  {column.heading:>22}" for column in columns)]
    for name in names:
        cells = [f"{s.mean:.3f} ({s.low:.3f} to {s.high:.3f})" for s in (c.scores[name] for c in columns)]
        measured.append(f"{name:{wide}}" + "".join(f"  {cell:>22}" for cell in cells))
    said = [
        f"{c.heading} ({c.target}, test {c.metric}, 95 % intervals): the best model is the {c.best}; its "
        f"interactions are worth {c.gap.mean:+.3f} ({c.gap.low:+.3f} to {c.gap.high:+.3f})."
        for c in columns
    ]
    published = [f"{'':{wide}}" + "".join(f"  {heading:>6}" for heading in table.published.columns)]
    for name, figures in table.published.rows.items():
        cells = ["-" if figure is None else f"{figure:.1f}" for figure in figures]
        published.append(f"{name:{wide}}" + "".join(f"  {cell:>6}" for cell in cells))
    return "\n".join([*measured, "", *said, "", f"Published: {table.published.source}", *published])
