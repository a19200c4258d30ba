"""LFM: a loss that aligns what modalities predict, in exchange for the loss of the classes."""

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from fuseloom.errors import DataError, OptionError
from fuseloom.registry import register
from fuseloom.tasks import Task
from fuseloom.train.remedies._base import Course, Remedy, RemedyCard
from fuseloom.train.remedies._modes import modes_kept
from fuseloom.train.remedies._passage import Passage
from fuseloom.train.remedies._rows import mean_over
from fuseloom.train.remedies._view import ModalityView

__all__ = ["LFM", "alignment", "curvature_along", "fitted_share"]

_FITTED = (
    0.204623704,
    3.35472727e-3,
    1.22989557e-4,
    -2.92947416e-6,
    2.23835486e-8,
    -5.39717505e-11,
)
"""Share of the classes' loss by powers of the epoch, from that of 0."""
_FITTED_EPOCHS = 200
_LEAST, _MOST = 0.05, 0.95
"""Of the share that is learnt; it begins with the least."""
_HALVING_EPOCHS = 20


def alignment(first: Tensor, second: Tensor) -> Tensor:
    r"""How far apart two modalities' probabilities are on each row, ``[B]``, from their logits ``[B, K]``.

    .. math:: \tfrac{1}{2} \left( \mathrm{KL}(M \,\|\, p) + \mathrm{KL}(M \,\|\, q) \right), \quad
        M = \tfrac{1}{2} (p + q)

    Example:
        >>> certain = torch.tensor([[9.0, 0.0]])
        >>> apart = alignment(certain, torch.tensor([[9.0, 0.0]])), alignment(certain, -certain)
        >>> [round(abs(value.item()), 3) for value in apart]
        [0.0, 3.807]
    """
    logs = first.log_softmax(-1), second.log_softmax(-1)
    middle = torch.logaddexp(*logs) - math.log(2)
    return (middle.exp() * (middle - (logs[0] + logs[1]) / 2)).sum(-1)


def fitted_share(epoch: float) -> float:
    """Share of the classes' loss in an epoch of 200, by the polynomial that its authors fitted.

    Example:
        >>> [round(fitted_share(epoch), 3) for epoch in (0, 50, 100, 199)]
        [0.205, 0.437, 0.539, 0.916]
    """
    share = sum(factor * epoch**power for power, factor in enumerate(_FITTED))
    return min(share, 1.0)  # from epoch 178 to 188 it is above, and would drive modalities apart


def curvature_along(loss: Tensor, other: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """The Hessian of a loss times the gradient of another, of which the part of the first parameter.

    Example:
        >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> curvature_along((x**3).sum(), (5 * x).sum(), [x])
        tensor([30., 60.])
    """
    slopes = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
    direction = torch.autograd.grad(other, parameters, retain_graph=True, materialize_grads=True)
    along = torch.stack([(slope * part).sum() for slope, part in zip(slopes, direction, strict=True)]).sum()
    return torch.autograd.grad(along, parameters[:1], materialize_grads=True)[0]


@register("lfm")
class LFM(Remedy):
    r"""Aligns the modalities' own predictions, the less the longer training lasts.

    .. math::

        L = 2 \left( \alpha_0 \, \ell(z, y) + (1 - \alpha_0) \operatorname*{mean}_{m < n} A(z_m, z_n) \right)

    ``A`` is `alignment`, over rows that have both modalities. ``alpha_0`` rises with the epoch as
    `fitted_share` says, or is learnt: once in an epoch its complement moves against the mean curvature, at
    the model's first parameter, along the gradient of the classes' loss, for a batch of validation rows.

    Paper: Facilitating Multimodal Classification via Dynamically Learning Modality Gap, NeurIPS 2024.

    Args:
        epochs: How long training is to last; the curve was fitted for 200 epochs and is stretched to these.
            By default as many as the run has planned, where it says so, otherwise 200.
        learned: Learn the share.
        lr: Of the learnt share; it halves every 20 epochs.

    Raises:
        OptionError: epochs or lr that are not positive.

    Example:
        >>> LFM(epochs=50).share(0).item() < LFM(epochs=50).share(40).item()
        True
    """

    card = RemedyCard(
        summary="Aligns what modalities predict first, and learns the classes later.",
        touches=("loss",),
        cost="M + 1 passes behind the encoders; learned: two passes over a batch between epochs",
        needs=("classes", "encoders"),
        paper="LFM, NeurIPS 2024",
        code="https://github.com/GeWu-Lab/BalanceBenchmark",
        differs="The fitted share is stretched to the length of the run, at most 1, and held behind it; the "
        "learnt one is moved by a whole batch without dropout, not a quarter with it. What modalities "
        "predict is their share of the model's outputs; predictions stay the model's own, which of late "
        "fusion are the mean over modalities, as in the original.",
    )
    aligned: Tensor

    def __init__(self, *, epochs: int | None = None, learned: bool = False, lr: float = 1e-4) -> None:
        super().__init__()
        for name, value in (("epochs", epochs), ("lr", lr)):
            if value is not None and not value > 0:
                raise OptionError(f"{name} must be positive, got {value}.")
        self.epochs, self.learned, self.lr = epochs, learned, lr
        self._planned = _FITTED_EPOCHS
        self.register_buffer("aligned", torch.tensor(_LEAST))
        self._task: Task | None = None

    def prepare(self, view: ModalityView, task: Task) -> None:
        """Keep the task, for losses between epochs."""
        self._task = task

    def share(self, epoch: int) -> Tensor:
        """Share of the classes' loss in an epoch."""
        if self.learned:
            return 1 - self.aligned
        length = self.epochs if self.epochs is not None else self._planned
        done = min(epoch / length, 1) * _FITTED_EPOCHS
        return torch.full_like(self.aligned, fitted_share(done))

    def rate(self, epoch: int) -> float:
        """Learning rate of the share that is learnt."""
        return self.lr * 0.5 ** (epoch // _HALVING_EPOCHS)

    def loss(self, seen: Passage) -> Tensor:
        """Twice the weighted mean of both losses."""
        return 2 * self._mixed(seen, self.share(seen.moment.epoch))

    def gap(self, seen: Passage) -> Tensor:
        """Mean alignment loss over the pairs of modalities."""
        split = seen.split()
        pairs = [
            mean_over(alignment(split[m], split[n]), seen.present(m) & seen.present(n), seen.weight)
            for m, n in combinations(split, 2)
        ]
        return torch.stack(pairs).mean()

    def plan(self, course: Course) -> None:
        """Over how many epochs the share moves."""
        self._planned = course.num_epochs or _FITTED_EPOCHS

    def start_epoch(self, view: ModalityView, course: Course) -> None:
        """Move the share, if it is learnt.

        Raises:
            OptionError: there are no validation rows to learn it from.
            DataError: they are none.
        """
        if not self.learned:
            return
        if course.valid is None:
            raise OptionError(
                "learned must be False for a run without validation rows, got True. Give Course(valid=...)."
            )
        batch = next(iter(course.valid()), None)
        if batch is None:
            raise DataError("valid must have a batch to learn the share from, got none.")
        assert self._task is not None
        with modes_kept(view.model), sdpa_kernel(SDPBackend.MATH):  # others have no second derivative
            view.model.eval()
            curvature = self.curvature(Passage(view, batch, self._task)).mean().float()
        total, processes = self.summed(torch.stack([curvature, torch.ones_like(curvature)]))
        self.move(total / processes, course.epoch)

    def curvature(self, seen: Passage) -> Tensor:
        """Of the loss along the gradient of the classes' loss, at the first parameter of the model."""
        learnt = [value for value in seen.view.model.parameters() if value.requires_grad]
        return curvature_along(self._mixed(seen, self.share(seen.moment.epoch)), seen.loss, learnt)

    def move(self, curvature: Tensor, epoch: int) -> None:
        """Give alignment more where its loss bends down, and less where it bends up."""
        self.aligned.sub_(self.rate(epoch) * curvature).clamp_(_LEAST, _MOST)

    def _mixed(self, seen: Passage, share: Tensor) -> Tensor:
        return share * seen.loss + (1 - share) * self.gap(seen)
