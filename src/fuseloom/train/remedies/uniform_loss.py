"""The plain baseline: a loss for every modality alone beside that of all together."""

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.registry import register
from fuseloom.tasks import Task
from fuseloom.train.remedies._base import Remedy, RemedyCard
from fuseloom.train.remedies._passage import Passage
from fuseloom.train.remedies._view import ModalityView

__all__ = ["UniformLoss"]


@register("uniform_loss")
class UniformLoss(Remedy):
    r"""Adds the loss of a linear head on each modality's features.

    .. math:: L = \ell(z, y) + w \sum_m \ell(h_m(f_m), y)

    The baseline that every remedy should be held against: it needs no rule at all.

    Args:
        weight: ``w``.

    Raises:
        OptionError: a weight that is not positive.

    Example:
        >>> UniformLoss().card.touches
        ('loss',)
    """

    card = RemedyCard(
        summary="Adds the loss of a linear head on each modality's features.",
        touches=("loss",),
        cost="M linear heads",
        needs=("encoders",),
    )

    def __init__(self, *, weight: float = 1.0) -> None:
        super().__init__()
        if not weight > 0:
            raise OptionError(f"weight must be positive, got {weight}.")
        self.weight = weight
        self.heads = nn.ModuleDict()

    def prepare(self, view: ModalityView, task: Task) -> None:
        """Build a head per modality."""
        self.heads.update({name: nn.Linear(dim, task.num_outputs) for name, dim in view.dims.items()})

    def loss(self, seen: Passage) -> Tensor:
        """The sum of the losses."""
        alone = [seen.loss_of(self.heads[name](seen.features(name))) for name in seen.modalities]
        return seen.loss + self.weight * torch.stack(alone).sum()
