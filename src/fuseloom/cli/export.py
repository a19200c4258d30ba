"""``fuseloom export``: a saved model as an ONNX file."""

from pathlib import Path

import click

__all__ = ["export"]


@click.command(
    epilog="""\b
Example:
  $ fuseloom export runs/train-segformer new.csv --out model.onnx
  model.onnx: inputs rgb, rgb.mask, depth, depth.mask; output labels
  on 8 rows, 0.00% of the labels differ from the model's"""
)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("rows", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file.")
def export(run: Path, rows: Path, out: Path) -> None:
    """Write the model of RUN, a run folder or a saved model, as ONNX, and run it on ROWS to check it.

    The graph takes encoded inputs and their masks; how they are encoded is in the file's metadata.
    """
    from fuseloom.data import read_rows
    from fuseloom.train.exported import export_onnx
    from fuseloom.train.saved import SavedModel

    saved = SavedModel.of_run(run)
    found = export_onnx(saved, read_rows(str(rows), saved.schema), out)
    click.echo(f"{out}: inputs {', '.join(found.inputs)}; output {found.output}")
    if found.output == "labels":
        click.echo(f"on {found.rows} rows, {found.largest:.2%} of the labels differ from the model's")
    else:
        click.echo(f"on {found.rows} rows, outputs differ from the model's by {found.largest:.1e} at most")
