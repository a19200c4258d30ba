"""ReconBoost: modalities learn in turn what the others have not learnt."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.registry import register
from fuseloom.tasks import Task
from fuseloom.train.remedies._base import Remedy, RemedyCard
from fuseloom.train.remedies._passage import Passage
from fuseloom.train.remedies._rows import mean_over
from fuseloom.train.remedies._shared_head import shared_head
from fuseloom.train.remedies._view import ModalityView

__all__ = ["ReconBoost", "boosted_sum", "boosting_losses", "disagreement"]

_TOGETHER = "all modalities together"
"""The phase behind those of the modalities."""


def boosting_losses(
    errors: Tensor, others: Tensor, target: Tensor, *, own: float = 5.0, reconcile: float = 1.0
) -> Tensor:
    r"""Losses ``[B]`` of a modality, smaller where the others are sure of the true class already.

    .. math:: \left(w_1 - w_2 \, \mathrm{softmax}(z_{-m})_y\right) \ell(z_m, y) / K

    Args:
        errors: Cross-entropies ``[B]`` of the modality's outputs.
        others: ``z_-m``, what the other modalities give, ``[B, K]``; nothing is learnt through it.
        target: Classes ``[B]``.
        own: ``w_1``.
        reconcile: ``w_2``.

    Example:
        >>> others = torch.tensor([[0.0, 0.0], [0.0, 99.0]])
        >>> boosting_losses(torch.ones(2), others, torch.tensor([1, 1]))
        tensor([2.2500, 2.0000])
    """
    wide = others.detach().to(torch.promote_types(others.dtype, torch.float32))
    sure = wide.softmax(-1).gather(1, target[:, None])[:, 0]
    return errors * (own - reconcile * sure) / others.shape[-1]


def disagreement(outputs: Tensor, previous: Tensor) -> Tensor:
    """Mean squared difference ``[B]`` to the probabilities of the modality before, which learns nothing."""
    wide = torch.promote_types(outputs.dtype, torch.float32)
    kept = previous.detach().to(wide).softmax(-1)
    return (outputs.to(wide).softmax(-1) - kept).square().mean(-1)


def boosted_sum(outputs: Mapping[str, Tensor], present: Mapping[str, Tensor], rate: Tensor) -> Tensor:
    """``rate`` times the sum of the outputs ``[B, K]`` of the modalities that are present ``[B]``."""
    parts = [value.masked_fill(~present[name][:, None], 0) for name, value in outputs.items()]
    return rate * torch.stack(parts).sum(0)


@register("reconboost")
class ReconBoost(Remedy):
    r"""Trains modalities in turn on what the others do not know yet, and then all together.

    .. math:: L_m = \frac{1}{K} \left(w_1 - w_2\, \mathrm{softmax}(z_{-m})_y\right) \ell(h(f_m), y)
        + \alpha \lVert p_m - p_{m-1} \rVert^2 / K, \quad L = \ell\Big(b \sum_m h(f_m), y\Big)

    The head ``h`` is shared, ``z_-m`` is ``b`` times the others' outputs, ``p`` are probabilities, and the
    modality before the first is the last. Each batch is stepped on for every modality and then for all. What
    joins the modalities in the model has no part: the prediction is that of ``L``.
    Paper: ReconBoost: Boosting Can Achieve Modality Reconcilement, ICML 2024, arXiv:2405.09321.

    Args:
        own: ``w_1``.
        reconcile: ``w_2``.
        consolidate: ``alpha``.
        boost_rate: ``b`` at first; it is learnt.

    Raises:
        OptionError: own is not greater than reconcile, or a weight is negative.
        ModalityError: features of several widths, when it meets the model.

    Example:
        >>> ReconBoost().boost_rate.item()
        1.0
    """

    card = RemedyCard(
        summary="Trains modalities in turn on what the others do not know yet, then all together.",
        touches=("loss", "order", "outputs"),
        cost="M + 1 steps per batch; one head",
        needs=("classes", "encoders", "equal widths"),
        paper="ReconBoost, ICML 2024",
        code="https://github.com/huacong/ReconBoost",
        differs="Turns pass with every batch, not every four epochs; the head is linear; the learnt rate of "
        "the sum of outputs begins at 1, there at 0.01 (boost_rate); and the term that "
        "consolidates what the modality before has learnt has a gradient, where the official code detaches "
        "both its sides, so that it does nothing (consolidate=0).",
    )

    def __init__(
        self,
        *,
        own: float = 5.0,
        reconcile: float = 1.0,
        consolidate: float = 0.5,
        boost_rate: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 <= reconcile < own:
            raise OptionError(f"reconcile must be in [0, own), so below {own}, got {reconcile}.")
        if not consolidate >= 0:
            raise OptionError(f"consolidate must not be negative, got {consolidate}.")
        self.own, self.reconcile, self.consolidate = own, reconcile, consolidate
        self.boost_rate = nn.Parameter(torch.tensor(float(boost_rate)))

    def prepare(self, view: ModalityView, task: Task) -> None:
        """Build the head; a batch is stepped on once per modality and once for all."""
        self.head = shared_head(view, task, who="ReconBoost")
        self.phases = (*view.modalities, _TOGETHER)

    def loss(self, seen: Passage) -> Tensor:
        """That of one modality, or of all together."""
        if seen.moment.phase == _TOGETHER:
            return seen.loss_of(self.predict(seen))
        return self._turn(seen, seen.moment.phase)

    def predict(self, seen: Passage) -> Tensor:
        """The boosted sum of all modalities' outputs."""
        outputs = {name: self.head(seen.features(name)) for name in seen.modalities}
        return boosted_sum(outputs, {name: seen.present(name) for name in outputs}, self.boost_rate)

    def _turn(self, seen: Passage, name: str) -> Tensor:
        outputs = self.head(seen.features(name))
        with torch.no_grad():
            others = {n: self.head(seen.features(n)) for n in seen.modalities if n != name}
            known = boosted_sum(others, {n: seen.present(n) for n in others}, self.boost_rate)
        errors, weights = seen.task.errors(outputs, seen.target)
        losses = boosting_losses(errors, known, seen.target, own=self.own, reconcile=self.reconcile)
        before = seen.modalities[seen.modalities.index(name) - 1]
        apart, rows = disagreement(outputs, others[before]), seen.present(name)
        weight = _product(weights, seen.weight)
        loss = mean_over(losses, rows, weight)
        return loss + self.consolidate * mean_over(apart, rows & seen.present(before), weight)


def _product(*weights: Tensor | None) -> Tensor | None:
    known = [weight for weight in weights if weight is not None]
    return torch.stack(known).prod(0) if known else None
