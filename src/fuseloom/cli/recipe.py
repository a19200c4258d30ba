"""``fuseloom recipe``: the recipes and the experiments that come with the package."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fuseloom.comparison.emap_table import EmapTable

__all__ = ["emap_table_text", "recipe"]


@click.command(
    epilog="""\b
Examples:
  $ fuseloom recipe
  $ fuseloom recipe digits > my.yaml
  $ fuseloom recipe emap-table instagram/"""
)
@click.argument("name", required=False)
@click.argument("data", required=False)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Run folder of an experiment; default: runs/NAME."
)
@click.option("--workers", "num_workers", default=1, show_default=True, help="Processes to train in.")
@click.option("--json", "as_json", is_flag=True, help="Print an experiment's table as JSON.")
def recipe(name: str | None, data: str | None, out: Path | None, num_workers: int, as_json: bool) -> None:
    """Print the recipe NAME as YAML, or the table that the experiment NAME finds on DATA.

    A recipe says where each of its numbers comes from; `fuseloom train` takes it. An experiment trains what
    its paper compared and prints the table beside the published figures; killed, it goes on where it was.
    Without NAME all are listed.
    """
    from fuseloom.comparison.experiments import experiment_text, list_experiments
    from fuseloom.errors import OptionError
    from fuseloom.train.recipe import recipe_text

    if name is None:
        click.echo(_listed())
    elif name not in list_experiments():
        if data is not None:
            raise OptionError(f"DATA must be given to an experiment only, got {data!r} for {name!r}.")
        click.echo(recipe_text(name), nl=False)
    elif data is None:
        click.echo(experiment_text(name), nl=False)
    else:
        _run(name, data, out or Path("runs", name), num_workers=num_workers, as_json=as_json)


def _listed() -> str:
    from fuseloom.comparison.experiments import list_experiments, summary_of
    from fuseloom.train.recipe import list_recipes, read_recipe

    about = {name: read_recipe(name).summary for name in list_recipes()}
    about |= {name: f"{summary_of(name)} (on DATA)" for name in list_experiments()}
    wide = max(map(len, about))
    return "\n".join(f"{name:{wide}}  {summary}" for name, summary in about.items())


def _run(name: str, data: str, out: Path, *, num_workers: int, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from fuseloom.comparison.emap_table import emap_table
    from fuseloom.comparison.experiments import read_experiment

    found = emap_table(
        data,
        out,
        read_experiment(name),
        num_workers=num_workers,
        progress=lambda line: click.echo(line, err=True),
    )
    click.echo(json.dumps(asdict(found), indent=1) if as_json else emap_table_text(found))


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
