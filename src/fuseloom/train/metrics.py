"""The losses of each epoch as files that a person and a program can read."""

import csv
import io
import json
import math

from fuseloom.train.state import Progress

__all__ = ["metrics_csv", "metrics_lines"]


def metrics_lines(progress: Progress) -> str:
    """The losses of each epoch as JSON lines.

    Example:
        >>> print(metrics_lines(Progress().after((0.5, 0.75), 1.0)), end="")
        {"epoch": 1, "train_loss": 0.5, "valid_loss": 0.75}
    """
    return "".join(json.dumps(row) + "\n" for row in _rows(progress))


def metrics_csv(progress: Progress) -> str:
    """The losses of each epoch as a table.

    Example:
        >>> print(metrics_csv(Progress().after((0.5, 0.75), 1.0)), end="")
        epoch,train_loss,valid_loss
        1,0.5,0.75
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, ["epoch", "train_loss", "valid_loss"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows(progress))
    return text.getvalue()


def _rows(progress: Progress) -> list[dict[str, float | None]]:
    return [
        {"epoch": epoch, "train_loss": _finite(learnt), "valid_loss": _finite(valid)}
        for epoch, (learnt, valid) in enumerate(progress.curve, start=1)
    ]


def _finite(value: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if math.isfinite(value) else None
