"""CML: what a model is sure of must not grow when a modality is taken away."""

import torch
from torch import Tensor

from fuseloom.errors import OptionError
from fuseloom.registry import register
from fuseloom.tasks import Task
from fuseloom.train.remedies._base import Course, Remedy, RemedyCard
from fuseloom.train.remedies._passage import Passage
from fuseloom.train.remedies._rows import loss_over, mean_over
from fuseloom.train.remedies._view import ModalityView

__all__ = ["CML", "confidence", "rise"]


def confidence(outputs: Tensor) -> Tensor:
    """Largest probability of each row, ``[B]``, of logits ``[B, K]``.

    Example:
        >>> confidence(torch.tensor([[0.0, 0.0], [0.0, 9.0]]))
        tensor([0.5000, 0.9999])
    """
    return outputs.softmax(-1).amax(-1)


def rise(growth: Tensor, rows: Tensor, weight: Tensor | None = None, *, by_row: bool = False) -> Tensor:
    """Penalty for confidence that grew by ``[B]`` though a modality was removed, mean over rows ``[B]``.

    Args:
        growth: Confidence behind the removal less that before.
        rows: That had the modality and have another.
        weight: Of the rows.
        by_row: Let no row where it fell make up for others.

    Example:
        >>> growth, rows = torch.tensor([0.5, -1.0]), torch.tensor([True, True])
        >>> rise(growth, rows).item(), rise(growth, rows, by_row=True).item()
        (0.0, 0.25)
    """
    return mean_over(growth.relu(), rows, weight) if by_row else mean_over(growth, rows, weight).relu()


@register("cml")
class CML(Remedy):
    r"""Takes one modality after the other away; the rest learns too, and must not become surer than before.

    .. math::

        L = \tfrac{1}{M} \sum_{k=0}^{M-1} \ell(z^{(k)}, y)
        + w \sum_{k=1}^{M-1} \max\Big(0, \operatorname*{mean}_i c(z^{(k)}_i) - c(z^{(k-1)}_i)\Big)

    ``z^(k)`` are the outputs without the first ``k`` modalities of an order that is drawn for each epoch,
    ``c`` the largest probability. Rows that lacked the modality before count in no difference, and rows that
    have nothing left in no loss.

    Paper: Calibrating Multimodal Learning, ICML 2023, arXiv:2306.01265.

    Args:
        weight: ``w``.
        by_row: Penalise growth of the confidence of each row, not of a batch's mean. That asks far more, and
            wants a smaller weight: at 3.2 an attention fusion of the set ``imbalanced`` stayed at chance.

    Raises:
        OptionError: a weight that is negative.

    Example:
        >>> CML(weight=0.5).card.touches
        ('loss',)
    """

    card = RemedyCard(
        summary="Removing a modality must not make predictions surer.",
        touches=("loss",),
        cost="M - 1 passes behind the encoders",
        needs=("classes",),
        paper="CML, ICML 2023, arXiv:2306.01265",
        code="https://github.com/GeWu-Lab/BalanceBenchmark",
        differs="What confidence grew by is a mean over the rows of a batch, not a sum, so that the weight, "
        "for which the code has 0.1 of a sum over 32 rows, means the same for every batch size; by_row=True "
        "penalises each row.",
    )
    order: Tensor

    def __init__(self, *, weight: float = 3.2, by_row: bool = False) -> None:
        super().__init__()
        if not weight >= 0:
            raise OptionError(f"weight must not be negative, got {weight}.")
        self.weight, self.by_row = weight, by_row
        self.register_buffer("order", torch.zeros(0, dtype=torch.long))

    def prepare(self, view: ModalityView, task: Task) -> None:
        """Remove from the last modality on, until an order is drawn."""
        self.order = torch.arange(len(view.modalities)).flip(0)

    def start_epoch(self, view: ModalityView, course: Course) -> None:
        """Draw in which order modalities are removed; the last one stays."""
        self.order.copy_(torch.randperm(len(self.order)))

    def loss(self, seen: Passage) -> Tensor:
        """The mean of the losses, and what confidence grew by."""
        left, losses, growths = list(seen.modalities), [seen.loss], []
        for place in self.order[:-1].tolist():
            name, before = seen.modalities[place], confidence(seen.outputs_of(left))
            left.remove(name)
            outputs = seen.outputs_of(left)
            some = torch.stack([seen.present(other) for other in left]).any(0)
            losses.append(loss_over(seen, outputs, some))
            growth = confidence(outputs) - before
            growths.append(rise(growth, some & seen.present(name), seen.weight, by_row=self.by_row))
        return torch.stack(losses).mean() + self.weight * torch.stack(growths).sum()
