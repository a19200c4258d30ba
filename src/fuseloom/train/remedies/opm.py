"""OPM: on-the-fly prediction modulation."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from fuseloom.errors import OptionError
from fuseloom.registry import register
from fuseloom.train.outcome import outcome_loss
from fuseloom.train.remedies._base import Remedy, RemedyCard
from fuseloom.train.remedies._passage import Passage
from fuseloom.train.remedies._scores import ScoreSums, score_ratios
from fuseloom.train.remedies._view import Encoded
from fuseloom.types import Batch, Trace

__all__ = ["OPM", "drop_rates", "drop_rows", "dropped_share"]


def drop_rates(scores: dict[str, Tensor], *, base: float, gain: float) -> dict[str, Tensor]:
    r"""Modality -> the probability that a row's value of it is dropped.

    .. math:: q_m = q (1 + \lambda \tanh(\rho_m - 1)) \text{ where } \rho_m > 1, \text{ else } 0

    ``rho_m`` is the modality's score over those of the others.

    Example:
        >>> rates = drop_rates({"a": torch.tensor(5.0), "v": torch.tensor(3.0)}, base=0.5, gain=0.5)
        >>> round(rates["a"].item(), 4), rates["v"].item()
        (0.6457, 0.0)
    """
    rates = {}
    for name, ratio in score_ratios(scores).items():
        lead = torch.tanh(torch.relu(ratio - 1))
        rates[name] = torch.where(lead > 0, base * (1 + gain * lead), 0.0).clamp(0, 1)
    return rates


def dropped_share(rates: Mapping[str, Tensor], dims: Mapping[str, int]) -> Tensor:
    """The expected share of features that are dropped: the mean rate, weighted by the widths ``dims``."""
    return torch.stack([rates[name] * dims[name] for name in rates]).sum() / sum(dims.values())


def drop_rows(encoded: Encoded, kept: Mapping[str, Tensor], share: Tensor) -> Encoded:
    """Rows in which modalities are absent unless kept ``[B]``, and larger by ``1 / (1 - share)``."""
    hidden, masks = encoded.without(kept).masks, dict(encoded.masks)
    for name, rows in kept.items():
        mask = masks.get(name, ~hidden[name])
        masks[name] = mask & rows.view(-1, *[1] * (mask.dim() - 1))
    return replace(encoded, masks=masks).times(dict.fromkeys(kept, 1 / (1 - share)))


@register("opm")
class OPM(Remedy):
    r"""Drops the features of the modality that is ahead, so that the model has to predict from the others.

    .. math:: \tilde f_m = \frac{b_m f_m}{1 - \theta}, \quad b_m \sim \text{Bernoulli}(1 - q_m), \quad
        \theta = \sum_m d_m q_m \Big/ \sum_m d_m

    ``q_m`` is that of `drop_rates`, ``d_m`` the width. Rows that lost all that they had do not count.
    Paper: On-the-fly Modulation for Balanced Multimodal Learning, TPAMI 2024.

    Args:
        base: ``q``, the rate where a modality is only just ahead.
        gain: ``lambda``, by how much it rises with the lead.
        p: Probability that a batch is treated at all.
        epochs: First epoch, and the one behind the last, with dropping; None has no end.

    Raises:
        OptionError: base or p is no probability, or gain is negative.

    Example:
        >>> OPM(base=0.4).card.touches
        ('features',)
    """

    card = RemedyCard(
        summary="Drops features of the modality that is surest of the true classes.",
        touches=("features",),
        cost="M + 1 passes behind the encoders, without gradients, and one with",
        needs=("classes",),
        paper="On-the-fly Modulation for Balanced Multimodal Learning, TPAMI 2024",
        code="https://github.com/GeWu-Lab/BML_TPAMI2024",
        differs="What is dropped is masked as absent, which a concatenation turns into zeros, and rows that "
        "lost everything weigh nothing instead of leaving the batch. With more than two modalities each is "
        "compared with the mean of its ratios to the others.",
    )

    def __init__(
        self,
        *,
        base: float = 0.5,
        gain: float = 0.5,
        p: float = 0.7,
        epochs: tuple[int, int | None] = (6, None),
    ) -> None:
        super().__init__()
        for name, value in (("base", base), ("p", p)):
            if not 0 <= value <= 1:
                raise OptionError(f"{name} must be in [0, 1], got {value}.")
        if not gain >= 0:
            raise OptionError(f"gain must not be negative, got {gain}.")
        self.base, self.gain, self.p, self.epochs = base, gain, p, epochs

    def loss(self, seen: Passage) -> Tensor:
        """The model's own, with or without dropping."""
        first, end = self.epochs
        epoch = seen.moment.epoch
        if self.p == 0 or epoch < first or (end is not None and epoch >= end):
            return seen.loss
        # Processes draw on their own, and all of them have to take part in the sum.
        rates = self._rates(seen)
        encoded, batch = seen.encoded, seen.batch
        if torch.rand(()) < self.p:
            encoded = _dropped(seen, rates)
            batch = _weighted(seen, encoded)
        # Not `seen.loss`: it draws as if nothing had been drawn here, and so would the next batch.
        trace = Trace(keep_records=False)
        return outcome_loss(seen.view.fuse(encoded, trace), batch, seen.task, trace)

    def _rates(self, seen: Passage) -> dict[str, Tensor]:
        scores = ScoreSums()
        scores.add(seen)
        return drop_rates(scores.take(self.summed), base=self.base, gain=self.gain)


def _dropped(seen: Passage, rates: dict[str, Tensor]) -> Encoded:
    count = len(seen.target)
    kept = {name: torch.rand(count, device=rate.device) >= rate for name, rate in rates.items()}
    return drop_rows(seen.encoded, kept, dropped_share(rates, seen.view.dims))


def _weighted(seen: Passage, dropped: Encoded) -> Batch:
    """The batch, in which rows that lost everything weigh nothing."""
    before = torch.stack([seen.present(name) for name in seen.modalities]).any(0)
    behind = torch.stack([dropped.present(name) for name in seen.modalities]).any(0)
    weight = (behind | ~before).float()
    weight = weight if seen.weight is None else weight * seen.weight
    return replace(seen.batch, extras={**seen.batch.extras, "weight": weight})
