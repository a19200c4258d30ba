"""The one training step."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fuseloom.tasks import Task
from fuseloom.train.modality_dropout import drop_modalities
from fuseloom.train.outcome import outcome_loss
from fuseloom.train.remedies import Remedied
from fuseloom.types import Batch, Trace

__all__ = ["apply_model", "clip_gradients", "training_loss", "training_step"]


def apply_model(model: nn.Module, batch: Batch, *, trace: Trace | None = None) -> Tensor:
    """Outputs of a model for the rows of a batch, with those of the extras that the model reads.

    Args:
        model: Called with inputs and masks; and what its ``reads`` name, where it has that attribute.
        batch: Rows.
        trace: For what its parts file; without one nothing is passed.
    """
    reads = batch.reads(getattr(model, "reads", ()))
    if trace is not None:
        reads["trace"] = trace
    outputs: Tensor = model(batch.inputs, batch.masks, **reads)
    return outputs


def training_loss(model: nn.Module, batch: Batch, task: Task, *, modality_dropout: float = 0.0) -> Tensor:
    """Loss of the task, plus what the model's parts file in a fresh trace, see `outcome_loss`.

    Args:
        model: Called with inputs, masks and a trace.
        batch: Rows with their target; ``extras["weight"]`` ``[B]``, where there is one, weighs them.
        task: Gives the loss.
        modality_dropout: Probability of leaving a modality out, as `drop_modalities` does.
    """
    batch = drop_modalities(batch, modality_dropout)
    trace = Trace(keep_records=False)
    return outcome_loss(apply_model(model, batch, trace=trace), batch, task, trace)


def training_step(
    model: nn.Module,
    batch: Batch,
    task: Task,
    optimizer: torch.optim.Optimizer,
    *,
    clip_norm: float = 1.0,
    modality_dropout: float = 0.0,
) -> Tensor:
    """Learn from a batch with gradients clipped to ``clip_norm``; returns the detached loss.

    That is one step of the optimiser, or in the care of a remedy one per phase, and then their mean loss.
    """
    if not isinstance(model, Remedied):
        loss = training_loss(model, batch, task, modality_dropout=modality_dropout)
        _descend(loss, optimizer, clip_norm=clip_norm)
        return loss.detach()
    batch = drop_modalities(batch, modality_dropout)
    losses = []
    for phase in model.phases:
        loss = model.loss(batch, phase)
        _descend(loss, optimizer, clip_norm=clip_norm, before_step=model.before_step)
        losses.append(loss.detach())
    return torch.stack(losses).mean()


def _descend(
    loss: Tensor,
    optimizer: torch.optim.Optimizer,
    *,
    clip_norm: float,
    before_step: Callable[[], None] | None = None,
) -> None:
    optimizer.zero_grad(set_to_none=False)  # in place: gradients may be views, see `flat_parameters`
    loss.backward()  # type: ignore[no-untyped-call]
    if before_step is not None:
        before_step()
    clip_gradients(optimizer, clip_norm=clip_norm)
    optimizer.step()


def clip_gradients(optimizer: torch.optim.Optimizer, *, clip_norm: float = 1.0) -> None:
    """Scale the gradients of all that the optimiser changes to a norm of at most ``clip_norm``, if not 0."""
    if clip_norm > 0:
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_(trained, clip_norm)
