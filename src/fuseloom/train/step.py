"""The one training step."""

import torch
from torch import Tensor, nn

from fuseloom.tasks import Task
from fuseloom.types import Batch, Trace

__all__ = ["training_loss", "training_step"]


def training_loss(model: nn.Module, batch: Batch, task: Task) -> Tensor:
    """Loss of the task, plus what the model's parts file in a fresh trace.

    That is: auxiliary losses, the task's loss of further predictions, and losses learnt from the outcome.
    """
    trace = Trace(keep_records=False)
    outputs = model(batch.inputs, batch.masks, trace=trace)
    weight = batch.extras.get("weight")
    assert batch.target is not None
    assert weight is None or isinstance(weight, Tensor)
    loss = task.loss(outputs, batch.target, weight) + trace.total_loss()
    for prediction in trace.predictions.values():
        loss = loss + task.loss(prediction, batch.target, weight)
    if trace.feedbacks:
        losses = task.losses(outputs, batch.target).detach()
        for function in trace.feedbacks.values():
            loss = loss + function(losses)
    return loss


def training_step(
    model: nn.Module, batch: Batch, task: Task, optimizer: torch.optim.Optimizer, *, max_norm: float = 1.0
) -> Tensor:
    """Take one step of the optimiser with gradients clipped to ``max_norm``; returns the detached loss."""
    optimizer.zero_grad(set_to_none=False)  # in place: gradients may be views, see `flat_parameters`
    loss = training_loss(model, batch, task)
    loss.backward()  # type: ignore[no-untyped-call]
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    torch.nn.utils.clip_grad_norm_(trained, max_norm)
    optimizer.step()
    return loss.detach()
