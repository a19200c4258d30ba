"""Convolutions that see no pixel after their own, in the order in which images are read."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from fuseloom.errors import OptionError

__all__ = ["Direction", "ShiftedConv", "ShiftedDeconv", "concat_elu", "pointwise"]

Direction = Literal["down", "right"]
"""``down`` sees whole rows from above on; ``right`` what is above, and its own row from the left on."""


def concat_elu(values: Float[Tensor, "*shape"], dim: int = 1) -> Float[Tensor, "*other"]:
    """ELU of values and of their negatives, side by side: twice as many channels.

    Example:
        >>> concat_elu(torch.tensor([[1.0, -1.0]]))
        tensor([[ 1.0000, -0.6321, -0.6321,  1.0000]])
    """
    return F.elu(torch.cat([values, -values], dim=dim))


def pointwise(in_dim: int, dim: int) -> nn.Conv2d:
    """The same weight-normalised linear map at every pixel."""
    layer: nn.Conv2d = weight_norm(nn.Conv2d(in_dim, dim, 1))
    return layer


class ShiftedConv(nn.Module):
    r"""Weight-normalised convolution over a pixel and what comes before it.

    ``down``: of its own row and those above, as far to the right as to the left. ``right``: of its own column
    and those to the left, in its own row and those above. Beyond the image stand zeros. With ``shift`` each
    output moves on, by a row or by a column, and so no longer sees its own; zeros take the first place.

    Paper: Salimans et al., 2017, arXiv:1701.05517; official code ``down_shifted_conv2d`` and
    ``down_right_shifted_conv2d``.

    Args:
        in_dim: Channels of the input.
        dim: Channels of the output.
        direction: Where it moves on to; see `Direction`.
        kernel: Rows and columns that it sees; an odd number of columns for ``down``.
        stride: Pixels from one output to the next, in both axes.
        shift: Leave out its own row (``down``) or column (``right``).

    Raises:
        OptionError: a kernel that has no middle column, or is empty.

    Example:
        >>> ShiftedConv(3, 8, "down", (2, 3), stride=2)(torch.ones(2, 3, 4, 6)).shape
        torch.Size([2, 8, 2, 3])
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        direction: Direction,
        kernel: tuple[int, int],
        *,
        stride: int = 1,
        shift: bool = False,
    ) -> None:
        super().__init__()
        height, width = kernel
        if min(kernel) < 1 or (direction == "down" and width % 2 == 0):
            raise OptionError(f"kernel must be positive, with odd columns for 'down', got {kernel}.")
        self.stride = stride
        self.left, self.right = (width // 2, width // 2) if direction == "down" else (width - 1, 0)
        self.above = height - 1
        self._moves = {"down": (0, 0, 1, -1), "right": (1, -1)}[direction] if shift else None
        self.conv: nn.Conv2d = weight_norm(nn.Conv2d(in_dim, dim, kernel, stride=stride))

    def forward(
        self, values: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch out rows columns"]:
        """``[B, C, H, W]`` to ``[B, D, H / stride, W / stride]``, rounded up."""
        out: Tensor = self.conv(F.pad(values, (self.left, self.right, self.above, 0)))
        return out if self._moves is None else F.pad(out, self._moves)


class ShiftedDeconv(nn.Module):
    """Transposed convolution that doubles both sides; no row sees a later one, nor for ``right`` a column.

    Each row becomes two. ``down`` spreads over three columns, ``right`` over two, so that each pixel becomes
    four. Weights are normalised per channel of the input.

    Official code: ``down_shifted_deconv2d`` and ``down_right_shifted_deconv2d`` at stride two, which pad and
    crop what is never made here.

    Args:
        in_dim: Channels of the input.
        dim: Channels of the output.
        direction: See `Direction`.

    Example:
        >>> ShiftedDeconv(3, 8, "right")(torch.ones(2, 3, 4, 6)).shape
        torch.Size([2, 8, 8, 12])
    """

    def __init__(self, in_dim: int, dim: int, direction: Direction) -> None:
        super().__init__()
        self._surplus = {"down": 1, "right": 0}[direction]
        # Dimension zero, along which norms are kept, is the input's here: as in the official checkpoints.
        kernel = (2, 2 + self._surplus)
        self.deconv: nn.ConvTranspose2d = weight_norm(nn.ConvTranspose2d(in_dim, dim, kernel, stride=2))

    def forward(
        self, values: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch out rows columns"]:
        """``[B, C, H, W]`` to ``[B, D, 2 H, 2 W]``."""
        out: Tensor = self.deconv(values)
        return out[..., self._surplus :]
