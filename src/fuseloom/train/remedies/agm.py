"""AGM: adaptive gradient modulation."""

import math

import torch
from torch import Tensor

from fuseloom.errors import OptionError
from fuseloom.metrics.shapley import coalitions, shapley_weight
from fuseloom.registry import register
from fuseloom.tasks import Task
from fuseloom.train.remedies._base import Remedy, RemedyCard
from fuseloom.train.remedies._passage import Passage
from fuseloom.train.remedies._view import ModalityView

__all__ = ["AGM", "error_sums", "modality_shares", "modulation", "steering_loss"]

_LEAST = 1e-8
"""Probabilities of the true class below it count as it."""
_MOST = 10.0
"""By which a modality's ratio may fall short of its usual one."""


def modality_shares(seen: Passage) -> dict[str, Tensor]:
    r"""Modality -> its share ``[B, K]`` of the model's outputs, which the shares add up to.

    .. math:: z_m = \frac{f(\emptyset)}{M} + \sum_{S \not\ni m}
        \frac{f(S \cup m) - f(S)}{M \binom{M - 1}{|S|}}

    This is the Shapley value, and an equal part of what no modality gives, which so drops out. For two
    modalities ``z_a = (f(a, v) - f(v) + f(a)) / 2``.
    """
    names = seen.modalities
    shares = {}
    for name in names:
        share = seen.outputs_of([name]) / len(names)
        for others in coalitions([other for other in names if other != name]):
            if others:
                gain = seen.outputs_of(others | {name}) - seen.outputs_of(others)
                share = share + shapley_weight(len(others), len(names)) * gain
        shares[name] = share
    return shares


def error_sums(seen: Passage, shares: dict[str, Tensor]) -> Tensor:
    """Cross-entropy of each share, summed over rows that have the modality, and their number, ``[M, 2]``."""
    rows = []
    for name in seen.modalities:
        likely = shares[name].detach().float().log_softmax(-1).gather(1, seen.target[:, None])[:, 0]
        there = seen.present(name)
        errors = -likely.clamp(min=math.log(_LEAST)) * there
        rows.append(torch.stack([errors.sum(), there.sum().to(errors.dtype)]))
    return torch.stack(rows)


def modulation(errors: Tensor, usual: Tensor, *, alpha: float) -> Tensor:
    r"""What the gradient through each modality's share is multiplied by, ``[M]``.

    .. math:: c_m = e^{\alpha \min(r^*_m - r_m, 10)}, \quad
        r_m = e^{\overline{s_{o}}_{o \neq m} - s_m}

    ``s_m`` is the error of a batch ``[M]``, and ``r*_m`` is of the usual errors ``[M]`` what ``r_m`` is of
    the batch's: a modality that is further ahead of the others than usual learns more slowly.

    Example:
        >>> modulation(torch.tensor([0.5, 1.0]), torch.tensor([1.0, 1.0]), alpha=1.0)
        tensor([0.5227, 1.4821])
    """
    return torch.exp(alpha * (_lead(usual) - _lead(errors)).clamp(max=_MOST))


def _lead(errors: Tensor) -> Tensor:
    others = (errors.sum() - errors) / (len(errors) - 1)
    return torch.exp(others - errors)


def steering_loss(seen: Passage, shares: dict[str, Tensor], factors: Tensor) -> Tensor:
    """Zero, with the gradient that makes that through each share ``factor`` times what it is.

    Added to the model's loss it changes no value; where all factors are 1 it adds zeros to the gradient.
    """
    outputs = seen.outputs.detach()
    for name, factor in zip(seen.modalities, factors, strict=True):
        outputs = outputs + (factor - 1) * (shares[name] - shares[name].detach())
    loss = seen.loss_of(outputs)
    return loss - loss.detach()


@register("agm")
class AGM(Remedy):
    """Slows what each modality learns while it is further ahead of the others than it usually was.

    The model's outputs are split into a share per modality, see `modality_shares`, and the gradient through
    each is multiplied by a factor, see `modulation`. The usual errors are the means over all batches so far;
    on the first of them nothing is changed.

    Paper: Boosting Multi-modal Model Performance with Adaptive Gradient Modulation, ICCV 2023.

    Args:
        alpha: How strongly gradients are changed.

    Raises:
        OptionError: alpha is negative.

    Example:
        >>> AGM(alpha=0.5).card.touches
        ('gradients',)
    """

    card = RemedyCard(
        summary="Slows a modality while it is further ahead of the others than it usually was.",
        touches=("gradients",),
        cost="2^M - 2 more passes behind the encoders, with gradients",
        needs=("classes",),
        paper="AGM, ICCV 2023",
        code="https://github.com/lihong2303/AGM_ICCV2023",
        differs="Leaves a modality out by its mask behind the encoders, in the model's own mode and with the "
        "same dropout, where the official code feeds zeros to a model in evaluation mode. More than two "
        "modalities share outputs by Shapley values and are held against the mean of the others. Gradients "
        "are clipped by the loop, if at all. The first batch of each epoch is no exception.",
    )
    usual: Tensor
    batches: Tensor

    def __init__(self, *, alpha: float = 1.0) -> None:
        super().__init__()
        if not alpha >= 0:
            raise OptionError(f"alpha must not be negative, got {alpha}.")
        self.alpha = alpha

    def prepare(self, view: ModalityView, task: Task) -> None:
        """Make room for the mean errors, and for the number of batches they are over."""
        count = len(view.modalities)
        self.register_buffer("usual", torch.zeros(count))
        self.register_buffer("batches", torch.zeros(count, dtype=torch.long))

    def loss(self, seen: Passage) -> Tensor:
        """The model's own, with a changed gradient."""
        loss, shares = seen.loss, modality_shares(seen)
        factors = self._factors(self.summed(error_sums(seen, shares)))
        return loss + steering_loss(seen, shares, factors)

    @torch.no_grad()
    def _factors(self, sums: Tensor) -> Tensor:
        """Those of a batch, which is then one of the usual."""
        there = sums[:, 1] > 0
        errors = torch.where(there, sums[:, 0] / sums[:, 1].clamp(min=1), self.usual)
        usual = torch.where(self.batches > 0, self.usual, errors)
        self.batches += there
        self.usual += (errors - self.usual) / self.batches.clamp(min=1)
        return modulation(errors, usual, alpha=self.alpha)
