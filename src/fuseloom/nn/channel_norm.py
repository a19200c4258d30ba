"""Norms with one learnt scale per channel, over values ``[B, C, ...]`` some of which are padding."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.nn.norm import masked_group_norm

__all__ = ["ChannelLayerNorm", "MaskedBatchNorm", "MaskedInstanceNorm", "TrackedInstanceNorm"]

_EPS = 1e-5
_MOMENTUM = 0.1


class MaskedBatchNorm(nn.Module):
    """Batch norm whose statistics are those of the real values; zero under False.

    In training each channel is centred and scaled over all real positions of all samples, and a running mean
    and an unbiased running variance follow; evaluation uses these. A batch without real values leaves them
    as they are, and one with a single value leaves the variance.

    Args:
        dim: Channels.

    Example:
        >>> norm, mask = MaskedBatchNorm(1), torch.tensor([[True, True, False]])
        >>> norm(torch.tensor([[[1.0, 3.0, 99.0]]]), mask).round(decimals=3)[0].tolist()
        [[-1.0, 1.0, 0.0]]
        >>> norm.running_mean
        tensor([0.2000])
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def forward(
        self,
        values: Float[Tensor, "batch channel *space"],
        mask: Bool[Tensor, " batch *space"] | None = None,
    ) -> Float[Tensor, "batch channel *space"]:
        """``[B, C]``, ``[B, C, T]`` or ``[B, C, H, W]`` to the same shape."""
        if self.training and (mask is not None or values.numel() == values.shape[1]):
            # torch refuses a single value per channel; here it is its own mean.
            every = values.new_ones((values.shape[0], *values.shape[2:]), dtype=torch.bool)
            return self._normalise(values, every if mask is None else mask)
        normal = F.batch_norm(
            values,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training,
            momentum=_MOMENTUM,
            eps=_EPS,
        )
        return normal if mask is None else normal.masked_fill(~mask[:, None], 0)

    def _normalise(self, values: Tensor, mask: Tensor) -> Tensor:
        absent, count = ~mask[:, None], mask.sum()
        axes = [axis for axis in range(values.dim()) if axis != 1]
        wide = values.to(torch.promote_types(values.dtype, torch.float32)).masked_fill(absent, 0)
        mean = wide.sum(axes, keepdim=True) / count.clamp(min=1)
        centred = (wide - mean).masked_fill(absent, 0)
        squares = centred.square().sum(axes, keepdim=True)
        self._remember(mean.flatten(), squares.flatten(), count)
        normal = (centred * torch.rsqrt(squares / count.clamp(min=1) + _EPS)).to(values.dtype)
        return _scaled(normal, self.weight, self.bias).masked_fill(absent, 0)

    @torch.no_grad()
    def _remember(self, mean: Tensor, squares: Tensor, count: Tensor) -> None:
        variance = squares / (count - 1).clamp(min=1)
        for running, new, enough in ((self.running_mean, mean, 1), (self.running_var, variance, 2)):
            # As data: an earlier pass of the same step holds them, though its gradient does not read them.
            running.data.add_((new.to(running.dtype) - running) * (_MOMENTUM * (count >= enough)))


class MaskedInstanceNorm(nn.Module):
    """Centre and scale each channel of each sample over its real positions; zero under False.

    A single position is its own mean, and gives the shift alone. Nothing is remembered between calls.

    Args:
        dim: Channels.

    Example:
        >>> norm = MaskedInstanceNorm(2)
        >>> norm(torch.tensor([[[1.0, 3.0], [5.0, 8.0]]])).round(decimals=3)[0].tolist()
        [[-1.0, 1.0], [-1.0, 1.0]]
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))

    def forward(
        self,
        values: Float[Tensor, "batch channel *space"],
        mask: Bool[Tensor, " batch *space"] | None = None,
    ) -> Float[Tensor, "batch channel *space"]:
        """``[B, C, T]`` or ``[B, C, H, W]`` to the same shape."""
        if mask is None:
            # The functional form refuses a sample of one position.
            return torch.group_norm(values, values.shape[1], self.weight, self.bias, _EPS)
        normal = masked_group_norm(values, mask, num_groups=values.shape[1], eps=_EPS)
        return _scaled(normal, self.weight, self.bias).masked_fill(~mask[:, None], 0)


class TrackedInstanceNorm(nn.Module):
    """Instance norm that remembers statistics in training, and uses them in evaluation.

    Rarely what is wanted, as then a picture is no longer scaled by its own statistics; some published
    checkpoints have these.

    Args:
        dim: Channels.

    Example:
        >>> norm = TrackedInstanceNorm(1)
        >>> norm(torch.tensor([[[1.0, 3.0]]])).round(decimals=3)[0].tolist()
        [[-1.0, 1.0]]
        >>> norm.running_mean
        tensor([0.2000])
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def forward(self, values: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *space"]:
        """``[B, C, T]`` or ``[B, C, H, W]`` to the same shape."""
        return F.instance_norm(
            values,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            use_input_stats=self.training,
            momentum=_MOMENTUM,
            eps=_EPS,
        )


class ChannelLayerNorm(nn.Module):
    """Centre and scale each position over its channels, as a LayerNorm of tokens does; zero under False.

    Args:
        dim: Channels.

    Example:
        >>> ChannelLayerNorm(2)(torch.tensor([[1.0, 3.0]])).round(decimals=3).tolist()
        [[-1.0, 1.0]]
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))

    def forward(
        self,
        values: Float[Tensor, "batch channel *space"],
        mask: Bool[Tensor, " batch *space"] | None = None,
    ) -> Float[Tensor, "batch channel *space"]:
        """``[B, C]``, ``[B, C, T]`` or ``[B, C, H, W]`` to the same shape."""
        last = values.movedim(1, -1)
        normal = F.layer_norm(last, last.shape[-1:], self.weight, self.bias, _EPS).movedim(-1, 1)
        return normal if mask is None else normal.masked_fill(~mask[:, None], 0)


def _scaled(normal: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    shape = (-1, *[1] * (normal.dim() - 2))
    return normal * weight.view(shape) + bias.view(shape)
