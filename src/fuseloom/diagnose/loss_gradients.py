"""How strongly each loss of a training step pulls at each encoder."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fuseloom.diagnose.gradients import encoder_parameters
from fuseloom.diagnose.observing import observed
from fuseloom.diagnose.resampling import known_target
from fuseloom.metrics.gradients import gradient_norm
from fuseloom.tasks import Task
from fuseloom.train.outcome import outcome_loss
from fuseloom.train.step import apply_model
from fuseloom.types import Batch, Trace

__all__ = ["LossGradients", "loss_gradients"]

_TASK = "task"


@dataclass(frozen=True, kw_only=True)
class LossGradients:
    """Norms of gradients on some rows taken as one step, without dropout."""

    rows: int
    norms: dict[str, dict[str, float]]
    """Loss -> modality -> norm of its gradient by those parameters of that encoder that are trained. ``task``
    is the loss of the task; others are named as the parts file them, and have their weights in them. An
    encoder of which nothing is trained is missing."""


def loss_gradients(module: nn.Module, rows: Batch, task: Task) -> LossGradients:
    """Gradient norms of each loss alone, in evaluation mode; ``.grad`` and all else stays as it was.

    Args:
        module: Has encoders by modality; called with inputs, masks and a trace.
        rows: Those of a step, with their target and what its losses are compared with.
        task: Gives its loss.

    Raises:
        DataError: the rows have no target.
        OptionError: the model has no encoders by modality.

    Example:
        >>> from fuseloom import create
        >>> from fuseloom.encoders.embedding import EmbeddingEncoder
        >>> from fuseloom.heads import LinearHead
        >>> from fuseloom.models.fusion import FusionModel
        >>> from fuseloom.tasks.classification import Classification
        >>> encoders = {name: EmbeddingEncoder(3, dim=4) for name in ("text", "image")}
        >>> model = FusionModel(encoders, create("sum", dict.fromkeys(encoders, 4)), LinearHead(4, 2))
        >>> rows = Batch(inputs=dict.fromkeys(encoders, torch.ones(2, 3)), target=torch.tensor([0, 1]))
        >>> found = loss_gradients(model, rows, Classification(["no", "yes"]))
        >>> {name: list(norms) for name, norms in found.norms.items()}
        {'task': ['text', 'image']}
    """
    known_target(rows)
    trained = {
        name: [value for value in values if value.requires_grad]
        for name, values in encoder_parameters(module).items()
    }
    with observed(module), torch.enable_grad():
        trace = Trace(keep_records=False)
        outputs = apply_model(module, rows, trace=trace)
        filed = dict(trace.losses)
        trace.losses.clear()
        losses = {_TASK: outcome_loss(outputs, rows, task, trace), **filed}
        norms = {
            loss: {name: _norm(value, own) for name, own in trained.items() if own}
            for loss, value in losses.items()
        }
    return LossGradients(rows=len(rows), norms=norms)


def _norm(loss: Tensor, parameters: Sequence[nn.Parameter]) -> float:
    if not loss.requires_grad:
        return 0.0
    return gradient_norm(torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True))
