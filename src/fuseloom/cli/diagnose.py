"""``fuseloom diagnose``: does a saved model use its modalities, do they interact, what would break it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fuseloom.comparison.diagnosis import Subject
    from fuseloom.data import Dataset
    from fuseloom.train.saved import SavedModel

__all__ = ["diagnose"]


@click.command(
    epilog="""\b
Examples:
  $ fuseloom diagnose runs/demo digits
  $ fuseloom diagnose runs/reviews later.csv --only emap,reliance --out runs/looked"""
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("rows")
@click.option("--only", metavar="NAME,NAME", help="Some of the diagnoses; default: all.")
@click.option("--metric", help="Of the task; default: the task's own.")
@click.option("--rows", "most", default=1000, show_default=True, help="At most so many, drawn at random.")
@click.option("--seed", default=0, show_default=True, help="Of rows, partners, permutations and resamples.")
@click.option(
    "--show-rows/--hide-rows", default=True, help="Whether the page shows what some rows look like."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for diagnosis.html and diagnosis.json.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole diagnosis as one object.")
def diagnose(  # noqa: PLR0913  an option each
    model: Path,
    rows: str,
    only: str | None,
    metric: str | None,
    most: int,
    seed: int,
    show_rows: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Look closely at MODEL, a run folder or a saved model, on ROWS whose target is known.

    ROWS has the columns (or arrays) that the model was trained on, and the target. On rows that it learnt
    from a model looks better than it is: of the data of a run its test rows are taken, and of rows that say
    which split they are of the test rows too.
    """
    from dataclasses import replace

    from fuseloom.comparison.diagnosis import diagnose_model
    from fuseloom.data import read_rows
    from fuseloom.report import diagnosis_text, to_json, write_diagnosis
    from fuseloom.train.saved import SavedModel

    saved = SavedModel.of_run(model)
    dataset = read_rows(rows, saved.schema)
    for row in dataset.set_aside:
        click.echo(f"set aside {row.where}: {row.reason}", err=True)
    subject = _subject(saved, dataset, metric, run=model, most=most, seed=seed)
    found = diagnose_model(
        replace(subject, show_rows=show_rows),
        only=[name.strip() for name in only.split(",")] if only else [],
        progress=lambda line: click.echo(line, err=True),
    )
    if out is not None:
        write_diagnosis(found, out)
        click.echo(f"the diagnosis: {out / 'diagnosis.html'}", err=True)
    click.echo(to_json(found) if as_json else diagnosis_text(found), nl=False)


def _subject(
    saved: "SavedModel",
    dataset: "Dataset",
    metric: str | None,
    *,
    run: Path,
    most: int,
    seed: int,
) -> "Subject":
    from dataclasses import replace

    import numpy as np
    import torch

    from fuseloom.comparison.alone import predict_alone
    from fuseloom.comparison.diagnosis import Subject, some_rows
    from fuseloom.comparison.evaluate import known_rows
    from fuseloom.train.predictions import predicted_rows

    known = known_rows(saved, dataset)
    assert dataset.target is not None
    of_run = known & predicted_rows(
        run / "predictions.csv", dataset.ids, saved.task.target_columns(dataset.target)
    )
    places = torch.from_numpy(np.flatnonzero(_held_out(dataset, known, of_run)))
    batch = saved.encode(dataset)
    chosen = places[some_rows(batch.take(places), most=most, seed=seed)]
    held_out = batch.take(chosen)
    target = torch.from_numpy(saved.task.encode(dataset.target[chosen.numpy()]))
    return Subject(
        name=saved.config.fusion,
        model=saved.model,
        task=saved.task,
        metric=saved.task.metric(metric),
        rows=replace(held_out, target=target),
        alone=predict_alone(run, saved, held_out),
        ids=[dataset.ids[row] for row in chosen.tolist()],
        dataset=dataset,
        places=chosen.tolist(),
        seed=seed,
    )


def _held_out(
    dataset: "Dataset", known: "NDArray[np.bool_]", of_run: "NDArray[np.bool_]"
) -> "NDArray[np.bool_]":
    """The rows that the run tested, or else those of a test split; all, where neither is known."""
    import numpy as np

    if of_run.any():
        click.echo(f"the {of_run.sum():,} test rows of the run", err=True)
        return of_run
    of_split = known if dataset.split is None else np.logical_and(known, dataset.split == "test")
    if dataset.split is not None and of_split.any():
        click.echo("the rows of the test split", err=True)
        return of_split
    click.echo("all rows: nothing says whether the model learnt from some of them", err=True)
    return known
