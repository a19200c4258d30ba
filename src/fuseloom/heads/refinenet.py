"""RefineNet: maps of several strides, refined from the coarsest to the finest, become one of predictions."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import ModalityError, OptionError

__all__ = ["ChainedPooling", "RefineNetHead", "ResidualUnits"]

_ADAPT, _REFINE, _POOLS = 2, 3, 4
_WINDOW = 5


class ResidualUnits(nn.Module):
    r"""Residual units of two 3x3 convolutions, one after another; the residual is what the ReLU lets pass.

    .. math:: r = \mathrm{relu}(x), \quad x \leftarrow r + W_b\, \mathrm{relu}(W_a r + b_a)

    The published code has its ReLU in place, so that ``r`` and not ``x`` is added; checkpoints depend on it.

    Args:
        dim: Channels.
        count: Units.

    Example:
        >>> ResidualUnits(4, 2)(torch.ones(1, 4, 3, 5)).shape
        torch.Size([1, 4, 3, 5])
    """

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.inner = nn.ModuleList(nn.Conv2d(dim, dim, 3, padding=1) for _ in range(count))
        self.outer = nn.ModuleList(_conv(dim, dim) for _ in range(count))

    def forward(self, values: Tensor) -> Tensor:
        """``[B, C, H, W]`` to the same shape."""
        for inner, outer in zip(self.inner, self.outer, strict=True):
            passed = values.relu()
            values = passed + outer(inner(passed).relu())
        return values


class ChainedPooling(nn.Module):
    r"""Maxima over ever wider windows, each mapped by a convolution and added.

    .. math:: t_0 = x, \quad t_i = W_i\, \mathrm{maxpool}_{5 \times 5}(t_{i-1}), \quad y = \sum_i t_i

    Args:
        dim: Channels.
        count: Pools.

    Example:
        >>> ChainedPooling(4, 2)(torch.ones(1, 4, 3, 5)).shape
        torch.Size([1, 4, 3, 5])
    """

    def __init__(self, dim: int, count: int = _POOLS) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_conv(dim, dim) for _ in range(count))

    def forward(self, values: Tensor) -> Tensor:
        """``[B, C, H, W]`` to the same shape."""
        top = total = values
        for conv in self.convs:
            top = conv(F.max_pool2d(top, _WINDOW, stride=1, padding=_WINDOW // 2))
            total = total + top
        return total


class RefineNetHead(nn.Module):
    """Decoder of RefineNet: each stage takes in what the coarser ones made of the scene, at its own stride.

    Paper: Lin et al., 2017, "RefineNet: Multi-Path Refinement Networks for High-Resolution Semantic
    Segmentation", arXiv:1611.06612; the form is that of the CEN code: convolutions around the sums without
    constants, resized with the corners aligned.

    Args:
        dims: Width after each stage of the backbone, coarsest last.
        num_labels: ``K``.
        dim: Width of the decoder; its coarsest stage has twice as much.
        dropout: Of the two coarsest maps, and of what is classified.

    Raises:
        OptionError: fewer than two stages, or a width or number of labels below one.

    Example:
        >>> head = RefineNetHead([8, 16, 32, 64], num_labels=5, dim=8)
        >>> stages = [torch.ones(1, 8 * 2**i, 32 // 2**i, 48 // 2**i) for i in range(4)]
        >>> head(stages).shape
        torch.Size([1, 5, 32, 48])
    """

    def __init__(self, dims: Sequence[int], num_labels: int, *, dim: int = 256, dropout: float = 0.5) -> None:
        super().__init__()
        if len(dims) < 2:
            raise OptionError(f"dims must be of two stages at least, got {list(dims)}.")
        if num_labels < 1 or dim < 1:
            raise OptionError(f"num_labels and dim must be at least 1, got {num_labels} and {dim}.")
        self.dropout = nn.Dropout(dropout)
        widths = [2 * dim, *[dim] * (len(dims) - 1)]  # coarsest first, as all lists below
        self.reduce = nn.ModuleList(_conv(own, width) for own, width in zip(dims[::-1], widths, strict=True))
        self.adapt = nn.ModuleList(ResidualUnits(width, _ADAPT) for width in widths)
        self.join = nn.ModuleList(_conv(width, width) for width in widths[1:])
        self.pool = nn.ModuleList(ChainedPooling(width) for width in widths)
        self.refine = nn.ModuleList(ResidualUnits(width, _REFINE) for width in widths)
        self.hand_on = nn.ModuleList(_conv(*ends) for ends in pairwise(widths))
        self.classify = nn.Conv2d(dim, num_labels, 3, padding=1)

    def forward(self, stages: Sequence[Tensor], real: Tensor | None = None) -> Tensor:
        """Maps ``[B, C, H, W]`` after each stage, coarsest last, to logits ``[B, K, H, W]`` of the finest.

        Args:
            stages: One map per stage.
            real: ``[B]`` bool: the samples whose statistics count; nothing here has any.

        Raises:
            ModalityError: other than one map per stage.
        """
        if len(stages) != len(self.reduce):
            raise ModalityError(f"stages must be {len(self.reduce)} maps, got {len(stages)}.")
        coarser: Tensor | None = None
        for index, stage in enumerate(reversed(stages)):
            value = self.dropout(stage) if index < 2 else stage
            value = self.adapt[index](self.reduce[index](value))
            if coarser is not None:
                coarser = self.hand_on[index - 1](coarser)
                resized = F.interpolate(coarser, value.shape[-2:], mode="bilinear", align_corners=True)
                value = self.join[index - 1](value) + resized
            coarser = self.refine[index](self.pool[index](value.relu()))
        return torch.as_tensor(self.classify(self.dropout(coarser)))


def _conv(in_dim: int, dim: int) -> nn.Conv2d:
    return nn.Conv2d(in_dim, dim, 3, padding=1, bias=False)
