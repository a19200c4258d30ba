"""On-the-fly gradient modulation: the encoder of the modality that is ahead learns more slowly."""

from abc import ABC

import torch
from torch import Tensor

from fuseloom.errors import OptionError
from fuseloom.train.remedies._base import Remedy
from fuseloom.train.remedies._passage import Passage
from fuseloom.train.remedies._scores import ScoreSums, score_ratios
from fuseloom.train.remedies._view import ModalityView

__all__ = ["OnTheFly", "modulation_factors"]


def modulation_factors(scores: dict[str, Tensor], *, alpha: float) -> dict[str, Tensor]:
    r"""What the gradient of each modality's encoder is multiplied by.

    .. math:: k_m = 1 - \tanh(\alpha \rho_m) \text{ where } \rho_m > 1, \text{ else } 1

    ``rho_m`` is the modality's score over those of the others. At ``rho = 1`` it jumps from 1 to
    ``1 - tanh(alpha)``.

    Example:
        >>> factors = modulation_factors({"a": torch.tensor(2.0), "v": torch.tensor(1.0)}, alpha=0.5)
        >>> round(factors["a"].item(), 4), factors["v"].item()
        (0.2384, 1.0)
    """
    ratios = score_ratios(scores)
    return {name: torch.where(rho > 1, 1 - torch.tanh(alpha * rho), 1.0) for name, rho in ratios.items()}


class OnTheFly(Remedy, ABC):
    """The rule of OGM and OGM-GE.

    Args:
        alpha: How strongly the leading modality is held back.
        epochs: First epoch, and the one behind the last, in which gradients are changed; None has no end.
        min_axes: Of an encoder's tensors those with so many axes at least are changed.

    Raises:
        OptionError: alpha is negative.
    """

    noise = False
    """Whether noise as large as the unchanged gradient is added, for all modalities (GE)."""

    def __init__(
        self, *, alpha: float = 0.5, epochs: tuple[int, int | None] = (0, None), min_axes: int = 2
    ) -> None:
        super().__init__()
        if not alpha >= 0:
            raise OptionError(f"alpha must not be negative, got {alpha}.")
        self.alpha, self.epochs, self.min_axes = alpha, epochs, min_axes
        self._scores, self._active = ScoreSums(), False

    def loss(self, seen: Passage) -> Tensor:
        """The model's own; the modalities' scores are noted."""
        first, end = self.epochs
        self._active = seen.moment.epoch >= first and (end is None or seen.moment.epoch < end)
        loss = seen.loss
        if self._active:
            self._scores.add(seen)
        return loss

    @torch.no_grad()
    def before_step(self, view: ModalityView) -> None:
        """Scale the encoders' gradients."""
        if not self._active:
            return
        self._active = False  # until a loss has noted scores again
        factors = modulation_factors(self._scores.take(self.summed), alpha=self.alpha)
        for name in view.modalities:
            for parameter in view.parameters(name):
                if parameter.grad is not None and parameter.dim() >= self.min_axes:
                    self._modulate(parameter.grad, factors[name])

    def _modulate(self, gradient: Tensor, factor: Tensor) -> None:
        spread = gradient.std() + 1e-8 if self.noise else None
        gradient.mul_(factor.to(gradient.dtype))
        if spread is not None:
            gradient.add_(torch.randn_like(gradient) * spread)
