"""Dropout that draws a byte per value."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Dropout"]

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
