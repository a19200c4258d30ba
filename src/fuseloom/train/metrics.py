"""The losses of each epoch, and what it is chosen by, as files that a person and a program can read."""

import csv
import io
import json
import math

from fuseloom.train.state import Progress

__all__ = ["metrics_csv", "metrics_lines"]


def metrics_lines(progress: Progress) -> str:
    """The losses of each epoch as JSON lines, with the metric where one says which is the best.

    Example:
        >>> print(metrics_lines(Progress().after((0.5, 0.75), 1.0)), end="")
        {"epoch": 1, "train_loss": 0.5, "valid_loss": 0.75}
    """
    return "".join(json.dumps(row) + "\n" for row in _rows(progress))


def metrics_csv(progress: Progress) -> str:
    """The losses of each epoch as a table, with the metric where one says which is the best.

    Example:
        >>> print(metrics_csv(Progress().after((0.5, 0.75), 1.0)), end="")
        epoch,train_loss,valid_loss
        1,0.5,0.75
    """
    text = io.StringIO()
    columns = ["epoch", "train_loss", "valid_loss", *(["valid_score"] if progress.scores else [])]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows(progress))
    return text.getvalue()


def _rows(progress: Progress) -> list[dict[str, float | None]]:
    rows = [
        {"epoch": epoch, "train_loss": _finite(learnt), "valid_loss": _finite(valid)}
        for epoch, (learnt, valid) in enumerate(progress.curve, start=1)
    ]
    if not progress.scores:
        return rows
    return [{**row, "valid_score": _finite(score)} for row, score in zip(rows, progress.scores, strict=True)]


def _finite(value: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if math.isfinite(value) else None
