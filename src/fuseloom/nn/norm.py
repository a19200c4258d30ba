"""Norms whose statistics are those of the real values alone."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import OptionError

__all__ = ["MaskedGroupNorm", "masked_group_norm"]

_FEWEST = 8


def masked_group_norm(
    values: Float[Tensor, "batch channel *space"],
    mask: Bool[Tensor, " batch *space"] | None = None,
    *,
    num_groups: int = 1,
    eps: float = 1e-5,
) -> Float[Tensor, "batch channel *space"]:
    """Centre and scale each group of channels of each sample over its real steps or pixels; zero elsewhere.

    Args:
        values: ``[B, C, T]`` or ``[B, C, H, W]``.
        mask: ``[B, T]`` or ``[B, H, W]``.
        num_groups: Groups of channels; must divide ``C``.
        eps: Added to the variance.

    Example:
        >>> values, mask = torch.tensor([[[1.0, 3.0, 99.0]]]), torch.tensor([[True, True, False]])
        >>> masked_group_norm(values, mask, eps=0)
        tensor([[[-1.,  1.,  0.]]])
    """
    if mask is None:
        return F.group_norm(values, num_groups, eps=eps)
    kept = mask[:, None, None]  # [B, 1, 1, *S]
    wide = values.to(torch.promote_types(values.dtype, torch.float32))
    batch, channels, *space = values.shape
    # Pixels stay on their own axes: a flattened product of sizes is more than torch.export can divide again.
    grouped = wide.reshape(batch, num_groups, channels // num_groups, *space).masked_fill(~kept, 0)
    group = tuple(range(2, grouped.dim()))
    count = (kept.sum(group, keepdim=True) * grouped.shape[2]).clamp(min=1)
    mean = grouped.sum(group, keepdim=True) / count
    centred = (grouped - mean).masked_fill(~kept, 0)
    variance = centred.square().sum(group, keepdim=True) / count
    normal: Tensor = centred * torch.rsqrt(variance + eps)
    return normal.reshape(values.shape).to(values.dtype)


class MaskedGroupNorm(nn.Module):
    """`masked_group_norm` with a learnt scale and shift per channel, zero under False.

    Nothing is remembered between calls, so neither padding nor absent samples can spoil a statistic.

    Args:
        dim: Channels.
        num_groups: Groups of channels; must divide ``dim``. By default groups have eight channels or more,
            so that a single step or pixel has a spread too.

    Raises:
        OptionError: groups that do not divide ``dim``.

    Example:
        >>> MaskedGroupNorm(24).num_groups
        3
    """

    def __init__(self, dim: int, *, num_groups: int | None = None) -> None:
        super().__init__()
        groups = math.gcd(dim, max(dim // _FEWEST, 1)) if num_groups is None else num_groups
        if groups < 1 or dim % groups:
            raise OptionError(f"num_groups must divide dim={dim}, got {groups}.")
        self.num_groups = groups
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))

    def forward(
        self,
        values: Float[Tensor, "batch channel *space"],
        mask: Bool[Tensor, " batch *space"] | None = None,
    ) -> Float[Tensor, "batch channel *space"]:
        """``[B, C, T]`` or ``[B, C, H, W]`` to the same shape."""
        if mask is None:
            return F.group_norm(values, self.num_groups, self.weight, self.bias)
        normal = masked_group_norm(values, mask, num_groups=self.num_groups)
        shape = (-1, *[1] * (values.dim() - 2))
        shifted = normal * self.weight.view(shape) + self.bias.view(shape)
        return shifted.masked_fill(~mask[:, None], 0)
