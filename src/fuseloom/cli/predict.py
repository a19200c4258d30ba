"""``fuseloom predict``: new rows through the model that a comparison saved."""

from pathlib import Path
from typing import Any

import click

from fuseloom.cli.seeing import look, seeing

__all__ = ["predict"]


@click.command(
    epilog="""\b
Example:
  $ fuseloom predict runs/reviews new.csv
  id,prediction,p_bad,p_good
  1,good,0.0312,0.9688"""
)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("rows", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Write the CSV there instead of to stdout.")
@click.option(
    "--masks",
    type=click.Path(path_type=Path),
    help="Write what each pixel shows there, a picture per row, as large as the row's own.",
)
@click.option(
    "--pictures",
    type=click.Path(path_type=Path),
    help="Write the pictures there that the model makes, as large as the row's own.",
)
@seeing
def predict(
    run: Path, rows: Path, out: Path | None, masks: Path | None, pictures: Path | None, **views: Any
) -> None:
    """Predict ROWS with the model of RUN, a run folder or a saved model.

    ROWS has the columns (or arrays) that the model was trained on; the target is not needed, and a row may
    lack a modality, or all rows (its columns may be left out).
    """
    from fuseloom.data import read_rows
    from fuseloom.train.masks import write_masks
    from fuseloom.train.pictures import write_pictures
    from fuseloom.train.predictions import predictions_csv
    from fuseloom.train.saved import SavedModel

    saved = SavedModel.of_run(run)
    look(saved, **views)
    dataset = read_rows(str(rows), saved.schema)
    for row in dataset.set_aside:
        click.echo(f"set aside {row.where}: {row.reason}", err=True)
    predictions = saved.predictions(dataset)
    if masks is not None:
        count = write_masks(masks, saved.task, dataset, predictions)
        click.echo(f"{count} masks and their labels in {masks}", err=True)
    if pictures is not None:
        count = write_pictures(pictures, saved, dataset, predictions)
        click.echo(f"{count} pictures in {pictures}", err=True)
    text = predictions_csv(dataset.ids, saved.task.columns(predictions))
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
        click.echo(f"{len(dataset)} predictions in {out}", err=True)
