"""Convolutions over time or pixels for which what is masked does not exist."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import OptionError
from fuseloom.nn.norm import MaskedGroupNorm

__all__ = ["MaskedConv", "MaskedResidual", "masked_average", "shorten_mask"]

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d}


def shorten_mask(mask: Bool[Tensor, " batch *space"], stride: int) -> Bool[Tensor, " batch *short"]:
    """Whether any of the ``stride`` steps (or pixels of a square) that become one is real.

    Example:
        >>> shorten_mask(torch.tensor([[False, True, False, False, True]]), 2)
        tensor([[ True, False,  True]])
    """
    if stride == 1:
        return mask
    return _pooled(mask[:, None].to(torch.float32), stride).squeeze(1) > 0


def masked_average(
    values: Float[Tensor, "batch channel *space"], mask: Bool[Tensor, " batch *space"] | None, stride: int
) -> Float[Tensor, "batch channel *short"]:
    """Mean of the real among each ``stride`` steps (or pixels of a square); zero where none is real.

    Example:
        >>> values, mask = torch.tensor([[[1.0, 9.0, 4.0]]]), torch.tensor([[True, False, True]])
        >>> masked_average(values, mask, 2)
        tensor([[[1., 4.]]])
    """
    kept = torch.ones_like(values[:, :1], dtype=torch.bool) if mask is None else mask[:, None]
    share = _pooled(kept.to(values.dtype), stride)
    return _pooled(values.masked_fill(~kept, 0), stride) / share.masked_fill(share == 0, 1)


def _pooled(values: Tensor, stride: int) -> Tensor:
    # Padded always by the same, so that the length is what a convolution's is, also as a symbol.
    padded = F.pad(values, [0, stride - 1] * (values.dim() - 2))
    if values.dim() == 4:
        return F.avg_pool2d(padded, stride)
    return F.avg_pool2d(padded[:, :, None], (1, stride)).squeeze(2)


class MaskedConv(nn.Module):
    r"""Convolution that keeps the length (over its stride, rounded up) and reads masked values as zero.

    Zero is also what stands beyond the ends, so a padded sample gives what the same sample gives when it is
    cut to its length. An output is real where one of the ``stride`` steps that it stands for is.

    Args:
        in_dim: Channels of the input.
        dim: Channels of the output.
        axes: 1 for time, 2 for pixels.
        kernel: Steps that an output sees, along each axis; odd, and wide enough that none is passed over.
        stride: Steps from one output to the next.
        dilation: Steps between the taps of the kernel.
        bias: Whether a constant is added.

    Raises:
        OptionError: ``axes`` other than 1 and 2, or an even kernel, or one that the stride passes over.

    Example:
        >>> conv = MaskedConv(3, 8, axes=1, stride=2)
        >>> values, mask = conv(torch.ones(2, 3, 5), torch.ones(2, 5, dtype=torch.bool))
        >>> values.shape, mask.shape
        (torch.Size([2, 8, 3]), torch.Size([2, 3]))
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        *,
        axes: int,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if axes not in _CONVOLUTIONS:
            raise OptionError(f"axes must be 1 (time) or 2 (pixels), got {axes}.")
        if kernel % 2 == 0 or stride < 1 or kernel < 2 * stride - 1:
            raise OptionError(
                f"kernel must be odd and at least 2 * stride - 1, got {kernel} with a stride of {stride}."
            )
        self.stride = stride
        padding = dilation * (kernel - 1) // 2
        self.conv: nn.Module = _CONVOLUTIONS[axes](
            in_dim, dim, kernel, stride=stride, padding=padding, dilation=dilation, bias=bias
        )

    def forward(
        self,
        values: Float[Tensor, "batch channel *space"],
        mask: Bool[Tensor, " batch *space"] | None = None,
    ) -> tuple[Float[Tensor, "batch out *short"], Bool[Tensor, " batch *short"] | None]:
        """``[B, C, T]`` or ``[B, C, H, W]`` and its mask to the same of the output."""
        if mask is None:
            return self.conv(values), None
        return self.conv(values.masked_fill(~mask[:, None], 0)), shorten_mask(mask, self.stride)


class MaskedResidual(nn.Module):
    r"""Residual block of two convolutions, each behind a norm and a ReLU, over time or pixels.

    .. math:: x \leftarrow \mathrm{skip}(x) + f(x), \quad
        f = \mathrm{conv} \circ \mathrm{relu} \circ \mathrm{norm} \circ
        \mathrm{conv} \circ \mathrm{relu} \circ \mathrm{norm}

    Norms take their statistics over what is real, and keep none between calls. Where the size changes, the
    skip averages what is real in each stride and maps it to the new width. After He et al., 2016,
    arXiv:1603.05027.

    Args:
        in_dim: Channels of the input.
        dim: Channels of the output.
        axes: 1 for time, 2 for pixels.
        stride: Of the first convolution.
        dilation: Of both convolutions.
        norm: Builds a norm of so many channels, which takes values and their mask.

    Raises:
        OptionError: as for `MaskedConv`.

    Example:
        >>> block = MaskedResidual(8, 16, axes=2, stride=2)
        >>> block(torch.ones(2, 8, 5, 7))[0].shape
        torch.Size([2, 16, 3, 4])
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        *,
        axes: int,
        stride: int = 1,
        dilation: int = 1,
        norm: Callable[[int], nn.Module] = MaskedGroupNorm,
    ) -> None:
        super().__init__()
        kernel = max(3, 2 * stride - 1)
        self.stride = stride
        self.norm_in, self.norm_mid = norm(in_dim), norm(dim)
        self.conv_in = MaskedConv(
            in_dim, dim, axes=axes, kernel=kernel, stride=stride, dilation=dilation, bias=False
        )
        self.conv_out = MaskedConv(dim, dim, axes=axes, dilation=dilation)
        self.skip = None if in_dim == dim else MaskedConv(in_dim, dim, axes=axes, kernel=1, bias=False)

    def forward(
        self,
        values: Float[Tensor, "batch channel *space"],
        mask: Bool[Tensor, " batch *space"] | None = None,
    ) -> tuple[Float[Tensor, "batch out *short"], Bool[Tensor, " batch *short"] | None]:
        """``[B, C, T]`` or ``[B, C, H, W]`` and its mask to the same of the output."""
        if mask is not None:
            values = values.masked_fill(~mask[:, None], 0)
        hidden, short = self.conv_in(torch.relu(self.norm_in(values, mask)), mask)
        hidden, _ = self.conv_out(torch.relu(self.norm_mid(hidden, short)), short)
        passed = values if self.stride == 1 else masked_average(values, mask, self.stride)
        if self.skip is not None:
            passed, _ = self.skip(passed, short)
        return passed + hidden, short
