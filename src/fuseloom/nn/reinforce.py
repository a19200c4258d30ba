"""The score-function gradient of a choice that was sampled."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fuseloom.errors import OptionError

__all__ = ["Reinforce"]


class Reinforce(nn.Module):
    r"""REINFORCE: what was chosen becomes likelier where the loss is below the running mean of losses.

    .. math:: \frac{1}{B} \sum_b \left( (\ell_b - \bar\ell) \log p_b - \lambda H_b \right)

    The baseline starts as the mean loss of the first batch and, in training, moves towards the mean loss of
    each batch after that batch was judged by it.

    Args:
        momentum: Share of the baseline that a batch leaves as it is.
        entropy_weight: ``lambda``, how strongly a spread choice is preferred.

    Raises:
        OptionError: a momentum outside zero to one, or a negative weight.

    Example:
        >>> loss = Reinforce()(torch.tensor([1.0, 3.0]), torch.tensor([-1.0, -2.0]), torch.zeros(2))
        >>> loss.item()  # the baseline is 2
        -0.5
    """

    baseline: Tensor
    started: Tensor

    def __init__(self, *, momentum: float = 0.9, entropy_weight: float = 0.0) -> None:
        super().__init__()
        if not 0 <= momentum <= 1:
            raise OptionError(f"momentum must be in [0, 1], got {momentum}.")
        if entropy_weight < 0:
            raise OptionError(f"entropy_weight must be at least 0, got {entropy_weight}.")
        self.momentum = momentum
        self.entropy_weight = entropy_weight
        self.register_buffer("baseline", torch.zeros(()))
        self.register_buffer("started", torch.tensor(False))

    def forward(
        self,
        losses: Float[Tensor, " batch"],
        log_prob: Float[Tensor, " batch"],
        entropy: Float[Tensor, " batch"],
    ) -> Float[Tensor, ""]:
        """Scalar loss whose gradient reaches what chose, through ``log_prob`` and ``entropy`` alone.

        Args:
            losses: Losses of the samples, of which no gradient is taken.
            log_prob: Log-probability of what was chosen for each sample.
            entropy: Entropy of the distribution it was sampled from.
        """
        outcome = losses.detach().to(log_prob.dtype)
        mean = outcome.mean()
        baseline = torch.where(self.started, self.baseline.to(mean.dtype), mean)
        if self.training:
            self.baseline.copy_(torch.lerp(mean, baseline, self.momentum))
            self.started.fill_(True)
        return ((outcome - baseline) * log_prob - self.entropy_weight * entropy).mean()
