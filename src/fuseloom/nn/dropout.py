"""Dropout of values, drawn a byte each, and of whole samples."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import OptionError

__all__ = ["DropPath", "Dropout"]

_LEVELS = 256


class Dropout(nn.Module):
    """`torch.nn.Dropout` whose random numbers do not dominate a small model's training on a CPU.

    There, torch draws a random number of 32 bits per value, one after another. This draws eight values from
    each 64 bits, so the probability is rounded to a multiple of 1/256, and scales by what it then is.
    Elsewhere it is torch's own.

    Args:
        p: Probability of dropping a value.

    Example:
        >>> dropped = Dropout(0.5)(torch.ones(1000))
        >>> sorted(set(dropped.tolist()))
        [0.0, 2.0]
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def forward(self, values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Values with some of them zero and the others scaled up, in training."""
        if not self.training or values.device.type != "cpu":
            return F.dropout(values, self.p, self.training)
        count = round(self.p * _LEVELS)
        if count in (0, _LEVELS):
            return F.dropout(values, count / _LEVELS)
        drawn = torch.empty((values.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        byte = drawn.view(torch.uint8)[: values.numel()].view(values.shape)
        return values * (byte >= count).to(values.dtype).mul_(_LEVELS / (_LEVELS - count))

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


class DropPath(nn.Module):
    """Drops the update of whole samples in training, and scales the others up (stochastic depth).

    Paper: Huang et al., 2016, "Deep Networks with Stochastic Depth", arXiv:1603.09382.

    Args:
        p: Probability of dropping the update of a sample.

    Raises:
        OptionError: a probability outside [0, 1).

    Example:
        >>> dropped = DropPath(0.5)(torch.ones(100, 2))
        >>> sorted(set(dropped.sum(1).tolist()))
        [0.0, 4.0]
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise OptionError(f"p must be in [0, 1), got {p}.")
        self.p = p

    def forward(self, values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Updates ``[B, ...]``, those of some samples zero, in training."""
        if not self.training or self.p == 0:
            return values
        kept = values.new_full((values.shape[0], *[1] * (values.dim() - 1)), 1 - self.p).bernoulli()
        return values * (kept / (1 - self.p))

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"
