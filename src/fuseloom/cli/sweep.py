"""``fuseloom sweep``: a grid over the settings of a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fuseloom.comparison.cluster import Cluster

__all__ = ["sweep"]


@click.command(
    epilog="""\b
Examples:
  $ fuseloom sweep digits --grid fit.lr=1e-3,3e-3 --grid model.fusion=sum,film --seeds 3
  $ fuseloom sweep my.yaml --grid model.dim=32,64,128 --workers 4 --out runs/widths"""
)
@click.argument("recipe")
@click.option("--grid", multiple=True, required=True, metavar="KEY.SUB=VALUE,VALUE", help="Values to try.")
@click.option("--set", "settings", multiple=True, metavar="KEY.SUB=VALUE", help="Change it for all runs.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Runs per combination.")
@click.option("--workers", type=click.IntRange(1), help="Processes to train in; default: 1.")
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Train on a Ray cluster instead: auto, local or HOST:PORT. The run folder must be on a shared disk.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; default: runs/sweep-RECIPE.")
@click.option("--overwrite", is_flag=True, help="Remove the sweep that the folder holds.")
@click.option("--json", "as_json", is_flag=True, help="Print all runs as JSON.")
def sweep(recipe: str, grid: tuple[str, ...], settings: tuple[str, ...], **options: object) -> None:
    """Train every combination of the grid's values by RECIPE, a name or a YAML file.

    The table is sorted by the mean validation score over the seeds, the best first; the test scores stand
    beside it and choose nothing. A killed sweep goes on where it stopped.
    """
    import json
    from dataclasses import asdict

    from fuseloom.comparison.sweep import parse_grid, run_sweep

    out = options["out"]
    cells = run_sweep(
        recipe,
        parse_grid(grid),
        out if isinstance(out, Path) else Path("runs") / f"sweep-{Path(recipe).stem}",
        seeds=int(str(options["seeds"])),
        overrides=settings,
        num_workers=_workers(options["workers"], options["ray"]),
        overwrite=bool(options["overwrite"]),
        progress=lambda line: click.echo(line, err=True),
    )
    if options["as_json"]:
        click.echo(json.dumps([asdict(cell) for cell in cells], indent=1))
        return
    metric = cells[0].runs[0].metric
    head = [*cells[0].settings, f"valid {metric}", f"test {metric}"]
    rows = [[*c.settings.values(), f"{c.score('valid'):.4f}", f"{c.score('test'):.4f}"] for c in cells]
    wide = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(row, wide, strict=True)).rstrip())


def _workers(number: object, address: object) -> "int | Cluster":
    from fuseloom.comparison.cluster import Cluster

    if address is None:
        return 1 if number is None else int(str(number))
    if number is not None:
        raise click.UsageError("--workers counts processes here; a cluster (--ray) has its own. Give one.")
    return Cluster(address=str(address))
