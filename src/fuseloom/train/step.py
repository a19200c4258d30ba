"""The one training step."""

import torch
from torch import Tensor, nn

from fuseloom.tasks import Task
from fuseloom.types import Batch, Trace

__all__ = ["training_loss", "training_step"]


def training_loss(model: nn.Module, batch: Batch, task: Task) -> Tensor:
    """Loss of the task plus the auxiliary losses that the model's parts file in a fresh trace."""
    trace = Trace(keep_records=False)
    outputs = model(batch.inputs, batch.masks, trace=trace)
    weight = batch.extras.get("weight")
    assert batch.target is not None
    assert weight is None or isinstance(weight, Tensor)
    return task.loss(outputs, batch.target, weight) + trace.total_loss()


def training_step(
    model: nn.Module, batch: Batch, task: Task, optimizer: torch.optim.Optimizer, *, max_norm: float = 1.0
) -> Tensor:
    """Take one optimiser step with gradients clipped to ``max_norm``; returns the detached loss."""
    optimizer.zero_grad(set_to_none=True)
    loss = training_loss(model, batch, task)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return loss.detach()
