"""MBSD: each two modalities are drawn together on rows that one of them knows and the other does not."""

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from fuseloom.registry import register
from fuseloom.train.remedies._base import Remedy, RemedyCard
from fuseloom.train.remedies._passage import Passage
from fuseloom.train.remedies._rows import loss_over, mean_over

__all__ = ["MBSD", "PairTerms", "pair_terms"]


@dataclass(frozen=True, kw_only=True)
class PairTerms:
    """What sets two modalities apart on each row, all ``[B]``."""

    weight: Tensor
    """By how much one is surer of the true class than the other; 0 where neither predicts it."""
    surer: Tensor
    """Probability of the true class by the one that is surer of it."""
    less_sure: Tensor
    """The same by the other."""
    similarity: Tensor
    """Mean squared difference of their logits."""
    divergence: Tensor
    """Of their probabilities."""


def pair_terms(first: Tensor, second: Tensor, target: Tensor, *, official: bool = False) -> PairTerms:
    """Compare the logits ``[B, K]`` of two modalities on rows of classes ``target`` ``[B]``.

    Args:
        first: Of one modality.
        second: Of the other.
        target: Numbers of the true classes.
        official: Compute the divergence as the official code does, see `MBSD`.

    Example:
        >>> terms = pair_terms(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
        >>> [round(value.item(), 4) for value in (terms.weight, terms.similarity, terms.divergence)]
        [0.3808, 2.0, 0.4338]
    """
    logs = first.log_softmax(-1), second.log_softmax(-1)
    of_first, of_second = (log.gather(1, target[:, None])[:, 0] for log in logs)
    surer, less_sure = torch.maximum(of_first, of_second), torch.minimum(of_first, of_second)
    known = (first.argmax(-1) == target) | (second.argmax(-1) == target)
    if official:
        divergence = less_sure.exp() * (less_sure - surer.exp())
    else:
        leads = (of_first >= of_second)[:, None]
        ahead, behind = torch.where(leads, logs[0], logs[1]), torch.where(leads, logs[1], logs[0])
        divergence = (behind.exp() * (behind - ahead)).sum(-1)
    return PairTerms(
        weight=(surer.exp() - less_sure.exp()).masked_fill(~known, 0),
        surer=surer.exp(),
        less_sure=less_sure.exp(),
        similarity=(first - second).square().mean(-1),
        divergence=divergence,
    )


@register("mbsd")
class MBSD(Remedy):
    r"""Adds each modality's own loss, and draws modalities together on rows of which only one is sure.

    .. math::

        L = \ell(z, y) + \sum_m \ell(z_m, y)
        + \operatorname*{mean}_{m < n} \operatorname*{mean}_i w_i \left( \tfrac{1}{K} \|z_m - z_n\|^2
        + \mathrm{KL}(p_- \,\|\, p_+) \right)

    ``z_m`` are the modality's share of the outputs, ``w_i = |p_m[y] - p_n[y]|`` where one of the two predicts
    the true class, else 0, and ``p_+`` the probabilities of the one that is surer of it, ``p_-`` those of the
    other. Rows count for a modality that they have, and for a pair of which they have both.

    Paper: none is known to us; the rule is that of BalanceBenchmark, 2025.

    Args:
        official: Take ``p_-[y] (log p_-[y] - p_+[y])`` for the divergence, as the official code does, which
            gives a probability where a logarithm is expected. It is no divergence: it is least where both
            are certain of the true class, not where they agree.

    Example:
        >>> MBSD().card.touches
        ('loss',)
    """

    card = RemedyCard(
        summary="Draws two modalities together on rows of which only one is sure.",
        touches=("loss",),
        cost="M + 1 passes behind the encoders",
        needs=("classes",),
        paper="MBSD in BalanceBenchmark, 2025",
        code="https://github.com/GeWu-Lab/BalanceBenchmark",
        differs="KL between all classes' probabilities, where the official code takes the true class alone "
        "and gives kl_div a probability for its logarithm (official=True). Of three modalities pairs are "
        "compared by logits, as two are.",
    )

    def __init__(self, *, official: bool = False) -> None:
        super().__init__()
        self.official = official

    def loss(self, seen: Passage) -> Tensor:
        """The sum of the losses, and the mean of what pairs add."""
        split = seen.split()
        alone = [loss_over(seen, outputs, seen.present(name)) for name, outputs in split.items()]
        pairs = [self._apart(seen, split, pair) for pair in combinations(split, 2)]
        return seen.loss + torch.stack(alone).sum() + torch.stack(pairs).mean()

    def _apart(self, seen: Passage, split: dict[str, Tensor], pair: tuple[str, str]) -> Tensor:
        first, second = pair
        terms = pair_terms(split[first], split[second], seen.target, official=self.official)
        both = seen.present(first) & seen.present(second)
        return mean_over(terms.weight * (terms.similarity + terms.divergence), both, seen.weight)
