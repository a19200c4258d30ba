"""Layers of PixelCNN++: gated blocks, pairs of streams, and levels of resolution inside one another."""

from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.nn.shifted_convolution import Direction, ShiftedConv, ShiftedDeconv, concat_elu, pointwise

__all__ = ["BothStreams", "GatedBlock", "HalvedLevel", "PixelBlock", "PixelLevel", "PixelStart", "StreamPair"]

Layer = TypeVar("Layer", bound=nn.Module)
StreamPair = tuple[Tensor, Tensor]
"""``vertical``, which knows the rows above, and ``horizontal``, also what is left of it; ``[B, F, H, W]``."""

_KERNELS: dict[Direction, tuple[int, int]] = {"down": (2, 3), "right": (2, 2)}
_CONDITION_STD = 0.05


class GatedBlock(nn.Module):
    r"""Residual block whose update is gated: ``x + u sigmoid(v)``.

    Args:
        dim: Channels ``F``.
        direction: Of its convolutions.
        num_skips: Maps of ``F`` channels that enter from elsewhere.
        embedding_dim: Width of the embedding that it is conditioned on; None for none.
        dropout: Probability of dropping a channel between its convolutions.

    Example:
        >>> block = GatedBlock(4, "right", num_skips=1)
        >>> block(torch.ones(2, 4, 6, 6), torch.ones(2, 4, 6, 6)).shape
        torch.Size([2, 4, 6, 6])
    """

    def __init__(
        self,
        dim: int,
        direction: Direction,
        *,
        num_skips: int = 0,
        embedding_dim: int | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        kernel = _KERNELS[direction]
        self.conv_in = ShiftedConv(2 * dim, dim, direction, kernel)
        self.skip = pointwise(2 * num_skips * dim, dim) if num_skips else None
        self.dropout = nn.Dropout2d(dropout)
        self.conv_out = ShiftedConv(2 * dim, 2 * dim, direction, kernel)
        self.condition = None if embedding_dim is None else nn.Linear(embedding_dim, 2 * dim, bias=False)
        if self.condition is not None:
            nn.init.normal_(self.condition.weight, std=_CONDITION_STD)

    def forward(self, values: Tensor, skips: Tensor | None = None, embedding: Tensor | None = None) -> Tensor:
        """``[B, F, H, W]``, the skips ``[B, S F, H, W]`` and the embedding ``[B, D]`` to ``[B, F, H, W]``."""
        hidden = self.conv_in(concat_elu(values))
        if self.skip is not None:
            assert skips is not None
            hidden = hidden + self.skip(concat_elu(skips))
        hidden = self.conv_out(self.dropout(concat_elu(hidden)))
        if self.condition is not None:
            hidden = hidden + self.condition(embedding)[..., None, None]
        return values + F.glu(hidden, dim=1)


class BothStreams(nn.Module, Generic[Layer]):
    """A layer for each stream, which do not meet."""

    def __init__(self, make: Callable[[Direction], Layer]) -> None:
        super().__init__()
        self.vertical: Layer = make("down")
        self.horizontal: Layer = make("right")

    def forward(self, streams: StreamPair) -> StreamPair:
        """Each stream through its own layer."""
        vertical, horizontal = streams
        return self.vertical(vertical), self.horizontal(horizontal)


class PixelBlock(nn.Module):
    """A gated block in each stream; the horizontal one also sees the new vertical one.

    Args:
        dim: Channels ``F``.
        kept: Whether streams of an earlier block enter both.
        embedding_dim: Width of the embedding; None for none.
        dropout: As for `GatedBlock`.
    """

    def __init__(self, dim: int, *, kept: bool, embedding_dim: int | None, dropout: float) -> None:
        super().__init__()
        block = partial(GatedBlock, dim, embedding_dim=embedding_dim, dropout=dropout)
        self.vertical = block("down", num_skips=int(kept))
        self.horizontal = block("right", num_skips=1 + kept)

    def forward(self, streams: StreamPair, kept: StreamPair | None, embedding: Tensor | None) -> StreamPair:
        """Both streams, those that enter, and the embedding to the streams behind the block."""
        vertical, horizontal = streams
        if kept is None:
            vertical = self.vertical(vertical, None, embedding)
            return vertical, self.horizontal(horizontal, vertical, embedding)
        vertical = self.vertical(vertical, kept[0], embedding)
        return vertical, self.horizontal(horizontal, torch.cat([vertical, kept[1]], dim=1), embedding)


class PixelStart(nn.Module):
    """Image to streams that do not see their own pixel.

    Args:
        channels: Of the image, its constant one included.
        dim: Channels ``F``.
    """

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.vertical = ShiftedConv(channels, dim, "down", (2, 3), shift=True)
        self.above = ShiftedConv(channels, dim, "down", (1, 3), shift=True)
        self.left = ShiftedConv(channels, dim, "right", (2, 1), shift=True)

    def forward(self, images: Tensor) -> StreamPair:
        """``[B, C, H, W]`` to both streams."""
        return self.vertical(images), self.above(images) + self.left(images)


class PixelLevel(nn.Module):
    """One resolution: blocks, what is coarser, and blocks that the streams before it enter, the last first.

    Args:
        dim: Channels ``F``.
        num_resnet: Blocks before what is coarser.
        coarser: Half the resolution; None at the coarsest level.
        embedding_dim: Width of the embedding; None for none.
        dropout: As for `GatedBlock`.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_resnet: int,
        coarser: "HalvedLevel | None",
        embedding_dim: int | None,
        dropout: float,
    ) -> None:
        super().__init__()

        def blocks(count: int, *, kept: bool) -> nn.ModuleList:
            block = partial(PixelBlock, dim, kept=kept, embedding_dim=embedding_dim, dropout=dropout)
            return nn.ModuleList(block() for _ in range(count))

        self.up = blocks(num_resnet, kept=False)
        self.coarser = coarser
        self.down = blocks(num_resnet + (coarser is not None), kept=True)

    def forward(self, streams: StreamPair, embedding: Tensor | None) -> StreamPair:
        """Both streams to those behind all blocks."""
        kept = [streams]
        for block in self.up:
            kept.append(block(kept[-1], None, embedding))
        streams = kept.pop() if self.coarser is None else self.coarser(kept[-1], embedding)
        for block in self.down:
            streams = block(streams, kept.pop(), embedding)
        return streams


class HalvedLevel(nn.Module):
    """A level at half the resolution, with the way there and back.

    Args:
        dim: Channels ``F``.
        level: What runs there.
    """

    def __init__(self, dim: int, level: PixelLevel) -> None:
        super().__init__()
        self.shrink = BothStreams(partial(_shrinking, dim))
        self.level = level
        self.grow = BothStreams(partial(ShiftedDeconv, dim, dim))

    def forward(self, streams: StreamPair, embedding: Tensor | None) -> StreamPair:
        """Both streams to those of the finer level again."""
        found: StreamPair = self.grow(self.level(self.shrink(streams), embedding))
        return found


def _shrinking(dim: int, direction: Direction) -> ShiftedConv:
    return ShiftedConv(dim, dim, direction, _KERNELS[direction], stride=2)
