"""The linear head that modalities share where they are learnt one after another."""

from torch import nn

from fuseloom.errors import ModalityError
from fuseloom.tasks import Task
from fuseloom.train.remedies._view import ModalityView

__all__ = ["shared_head"]


def shared_head(view: ModalityView, task: Task, *, who: str) -> nn.Linear:
    """A linear map of any modality's features to outputs.

    Args:
        view: Of the model.
        task: Gives the number of outputs.
        who: What needs it, for the message.

    Raises:
        ModalityError: features of several widths.
    """
    widths = dict(view.dims)
    if len(set(widths.values())) > 1:
        raise ModalityError(
            f"{who} must have features of one width for the head that modalities share, got {widths}. Give "
            "their encoders the same dim."
        )
    return nn.Linear(next(iter(widths.values())), task.num_outputs)
