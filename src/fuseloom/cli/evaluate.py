"""``fuseloom evaluate``: how good a saved model is on rows whose answer is known."""

from pathlib import Path
from typing import Any

import click

from fuseloom.cli.seeing import look, seeing

__all__ = ["evaluate"]


@click.command(
    epilog="""\b
Examples:
  $ fuseloom evaluate runs/train-digits digits
  $ fuseloom evaluate runs/reviews later.csv --json
  $ fuseloom evaluate runs/streets streets --by weather"""
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("rows")
@seeing
@click.option("--by", help="Column whose values part the rows instead of the split, such as the weather.")
@click.option("--json", "as_json", is_flag=True, help="Print one object: split, then metric, then score.")
def evaluate(model: Path, rows: str, by: str | None, as_json: bool, **views: Any) -> None:
    """Score MODEL, a run folder or a saved model, with every metric of its task on ROWS.

    ROWS has the columns (or arrays) that the model was trained on, and the target. Rows that say which
    split they are of are scored split by split besides; rows whose target is not known are left out.
    """
    import json

    from fuseloom.comparison.evaluate import evaluate_model
    from fuseloom.data import read_rows
    from fuseloom.train.saved import SavedModel

    saved = SavedModel.of_run(model)
    look(saved, **views)
    dataset = read_rows(rows, saved.schema)
    for row in dataset.set_aside:
        click.echo(f"set aside {row.where}: {row.reason}", err=True)
    scores = evaluate_model(saved, dataset, by=by)
    if as_json:
        click.echo(
            json.dumps({split: {"rows": s.rows, **s.metrics} for split, s in scores.items()}, indent=1)
        )
        return
    wide = max(len(metric) for one in scores.values() for metric in one.metrics)
    click.echo(" " * wide + "".join(f"  {split:>10}" for split in scores))
    click.echo(f"{'rows':{wide}}" + "".join(f"  {one.rows:10,}" for one in scores.values()))
    for metric in next(iter(scores.values())).metrics:
        found = [one.metrics[metric] for one in scores.values()]
        cells = (f"  {'-':>10}" if score is None else f"  {score:10.4f}" for score in found)
        click.echo(f"{metric:{wide}}" + "".join(cells))
