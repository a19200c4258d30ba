"""The loss of what a model gave."""

from torch import Tensor

from fuseloom.tasks import Task
from fuseloom.types import Batch, Trace

__all__ = ["outcome_loss"]


def outcome_loss(outputs: Tensor, batch: Batch, task: Task, trace: Trace) -> Tensor:
    """Loss of the task, plus what the model's parts filed in the trace of the pass.

    That is: auxiliary losses, the weighted losses of further predictions, and losses learnt from the outcome.

    Args:
        outputs: ``[B, K]``.
        batch: Rows with their target; ``extras["weight"]`` ``[B]``, where there is one, weighs them.
        task: Gives the loss.
        trace: Of the pass.
    """
    weight = batch.extras.get("weight")
    assert batch.target is not None
    assert weight is None or isinstance(weight, Tensor)
    loss = task.loss(outputs, batch.target, weight) + trace.total_loss()
    for name, prediction in trace.predictions.items():
        loss = loss + trace.prediction_weights[name] * task.loss(prediction, batch.target, weight)
    if trace.feedbacks:
        losses = task.losses(outputs, batch.target).detach()
        for function in trace.feedbacks.values():
            loss = loss + function(losses)
    return loss
