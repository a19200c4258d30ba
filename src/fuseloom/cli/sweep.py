"""``fuseloom sweep``: a grid over the settings of a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fuseloom.cli.stopping import stopping

if TYPE_CHECKING:
    from fuseloom.comparison.cluster import Cluster
    from fuseloom.comparison.sweep import SweepConfig

__all__ = ["sweep"]


@click.command(
    epilog="""\b
Examples:
  $ fuseloom sweep digits --grid fit.lr=1e-3,3e-3 --grid model.fusion=sum,film --seeds 3
  $ fuseloom sweep digits --grid model.options.low_rank.rank=1,2,4,8 --seeds 5 --workers 4
  $ fuseloom sweep my.yaml --grid model.dim=32,64,128 --data first.csv --data second.csv
  $ fuseloom sweep muse-theta --recipe muse-small --data tweets/ --data posts/"""
)
@click.argument("source", metavar="RECIPE_OR_EXPERIMENT")
@click.option("--grid", multiple=True, metavar="KEY.SUB=VALUE,VALUE", help="Values to try.")
@click.option("--data", multiple=True, metavar="DATA", help="Sweep on it; may be given several times.")
@click.option("--recipe", "base", metavar="RECIPE", help="Of all runs, instead of the experiment's own.")
@click.option("--set", "settings", multiple=True, metavar="KEY.SUB=VALUE", help="Change it for all runs.")
@click.option(
    "--seeds", type=click.IntRange(1), help="Runs per combination; default: 1, or the experiment's."
)
@click.option("--workers", type=click.IntRange(1), help="Processes to train in; default: 1.")
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Train on a Ray cluster instead: auto, local or HOST:PORT. The run folder must be on a shared disk.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; default: runs/sweep-NAME.")
@click.option("--overwrite", is_flag=True, help="Remove the sweep that the folder holds.")
@click.option("--json", "as_json", is_flag=True, help="Print the table and all runs as JSON.")
@stopping()
def sweep(
    source: str,
    grid: tuple[str, ...],
    data: tuple[str, ...],
    base: str | None,
    settings: tuple[str, ...],
    seeds: int | None,
    **options: object,
) -> None:
    """Train every combination of the grid's values by a recipe, on each data set.

    RECIPE_OR_EXPERIMENT is a name or a YAML file, of a recipe (then say what to try with --grid) or of an
    experiment of kind `sweep`, which names a recipe, a grid, seeds and data. `fuseloom recipe` lists both.

    In the table, the best by the mean validation score comes first; test scores stand beside it and choose
    nothing. With several seeds there are intervals, and the optimum is given with all values that validation
    rows do not show to be worse. The page in the run folder draws one curve for each data set. A killed sweep
    goes on where it stopped.
    """
    from dataclasses import replace

    from fuseloom.comparison.sweep import run_sweep
    from fuseloom.report.as_json import to_json
    from fuseloom.report.experiments.text import sweep_text
    from fuseloom.report.folder import write_sweep

    config = _config(source, grid, base)
    config = replace(
        config, terms=config.terms.changed(recipe=base, data=data, seeds=seeds, settings=settings)
    )
    out = options["out"]
    folder = out if isinstance(out, Path) else Path("runs") / f"sweep-{config.name}"
    found = run_sweep(
        config,
        folder,
        num_workers=_workers(options["workers"], options["ray"]),
        overwrite=bool(options["overwrite"]),
        progress=lambda line: click.echo(line, err=True),
    )
    write_sweep(found, folder)
    click.echo(to_json(found) if options["as_json"] else sweep_text(found), nl=not options["as_json"])
    click.echo(f"page: {folder / 'sweep.html'}", err=True)


def _config(source: str, grid: tuple[str, ...], base: str | None) -> "SweepConfig":
    """The sweep that an experiment describes, or that a recipe and a grid make."""
    from dataclasses import replace

    from fuseloom.comparison.experiments import is_experiment, read_experiment
    from fuseloom.comparison.sweep import SweepConfig, parse_grid
    from fuseloom.comparison.trials import Terms
    from fuseloom.errors import OptionError

    if is_experiment(source):
        config = read_experiment(source)
        if not isinstance(config, SweepConfig):
            raise OptionError(
                f"{source} must be an experiment of kind 'sweep'. Try: fuseloom recipe {source}"
            )
        return replace(config, grid=parse_grid(grid)) if grid else config
    if base is not None:
        raise click.UsageError("--recipe is for experiments; a recipe is named itself.")
    if not grid:
        raise click.UsageError("A recipe needs --grid KEY.SUB=VALUE,VALUE: what to try.")
    return SweepConfig(name=Path(source).stem, grid=parse_grid(grid), terms=Terms(recipe=source))


def _workers(number: object, address: object) -> "int | Cluster":
    from fuseloom.comparison.cluster import Cluster

    if address is None:
        return 1 if number is None else int(str(number))
    if number is not None:
        raise click.UsageError("--workers counts processes here; a cluster (--ray) has its own. Give one.")
    return Cluster(address=str(address))
