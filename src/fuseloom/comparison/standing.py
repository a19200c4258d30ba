"""The rows that gradients are taken on, and one look at a model as it stands."""

import torch
from torch import nn

from fuseloom.diagnose.gradients import GradientCourse, gradients
from fuseloom.tasks import Task
from fuseloom.types import Batch, Selection

__all__ = ["PART_SIZE", "drawn_rows", "gradients_as_it_stands"]

PART_SIZE = 32
"""Of the parts that gradients are taken on: eight of all rows that are drawn, for an interval over them."""
_MOST_ROWS = 256


def drawn_rows(rows: Batch | Selection, *, seed: int = 0) -> Batch:
    """At most 256 rows, drawn at random and in random order, so that parts of them are alike.

    Args:
        rows: Those that there are.
        seed: Of the draw.

    Example:
        >>> len(drawn_rows(Batch(inputs={"x": torch.zeros(1000, 3)})))
        256
    """
    generator = torch.Generator().manual_seed(seed)
    return rows.take(torch.randperm(len(rows), generator=generator)[:_MOST_ROWS])


def gradients_as_it_stands(
    model: nn.Module,
    rows: Batch,
    task: Task,
    *,
    name: str,
    learnt_from: bool,
    note: str = "",
) -> GradientCourse:
    """One look at the gradients of a model that is not trained any more.

    Args:
        model: With an encoder per modality.
        rows: Rows with their target.
        task: Gives the loss.
        name: Of the model, for the result.
        learnt_from: Whether the model learnt from these rows.
        note: What a reader should know besides.

    Raises:
        DataError: the rows have no target, or there are none.
        OptionError: the model has no encoders by modality.
    """
    found = gradients(model, rows, task, model=name, part_size=PART_SIZE)
    return GradientCourse(
        model=name, learnt_from=learnt_from, epochs=(), kept=None, gradients=(found,), note=note
    )
