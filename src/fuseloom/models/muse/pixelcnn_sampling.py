"""Painting with PixelCNN++: each layer keeps one row of what it saw, so that no pixel is computed twice.

The vertical stream knows whole rows only, so it moves on by rows; the horizontal one by pixels. What the row
above and the vertical stream add to a layer is computed for the whole row at once, before its first pixel.
Coarser levels move on at every second row and column. Rows are laid out as ``[B, W, F]``, pixels as
``[B, F]``. After Ramachandran et al., 2017, "Fast Generation for Convolutional Autoregressive
Models", arXiv:1704.06001.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from fuseloom.models.muse.pixelcnn_layers import GatedBlock, HalvedLevel, PixelBlock, PixelLevel, PixelStart
from fuseloom.nn.shifted_convolution import ShiftedConv, concat_elu

__all__ = ["paint"]


def paint(
    parts: tuple[PixelStart, PixelLevel, nn.Module],
    embedding: Tensor | None,
    uniforms: Tensor,
    draw: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Images pixel by pixel, equal but for rounding to a forward over the whole image for each of them.

    Args:
        parts: Start, finest level, and the map from its horizontal stream to logits.
        embedding: ``[B, D]``; None without.
        uniforms: Noise ``[B, N, H, W]``.
        draw: Logits ``[B, P, 1, 1]`` and the noise of a pixel to its values ``[B, C, 1, 1]``.

    Returns:
        ``[B, C, H, W]``.
    """
    start, level, out = parts
    # Otherwise each of the few layers that run as they are would normalise its weight at every pixel.
    with parametrize.cached():
        canvas = _Canvas(start, uniforms)
        net = _Level(level, uniforms.shape[3], embedding, len(uniforms))
        for row in range(uniforms.shape[2]):
            net.open_row(row, canvas.open_row(row))
            for column in range(uniforms.shape[3]):
                value = net.at(row, column, canvas.at(row, column))
                logits = out(F.elu(value)[..., None, None])
                noise = uniforms[:, :, row : row + 1, column : column + 1]
                canvas.put(row, column, draw(logits, noise))
    return canvas.images


class _Canvas:
    """The image so far, and the streams that start from it."""

    def __init__(self, start: PixelStart, uniforms: Tensor) -> None:
        self._start = start
        batch, _, height, width = uniforms.shape
        weight = start.vertical.conv.weight
        channels = weight.shape[1] - 1
        dtype = torch.promote_types(weight.dtype, torch.float32)
        self.images = weight.new_zeros(batch, channels, height, width, dtype=dtype)
        # Two rows of zeros above and a column at either side, as the convolutions pad.
        self._padded = weight.new_zeros(batch, channels + 1, height + 2, width + 2)
        self._padded[:, -1, 2:, 1:-1] = 1
        self._above: Tensor

    def open_row(self, row: int) -> Tensor:
        """The vertical stream of a row, ``[B, W, F]``."""
        vertical, self._above = (
            _pixels_last(layer.conv(self._padded[:, :, row + 2 - layer.above - 1 : row + 2]))
            for layer in (self._start.vertical, self._start.above)
        )
        if row == 0:
            # What the shift moves into the image is zero, not the bias.
            self._above = torch.zeros_like(self._above)
            return torch.zeros_like(vertical)
        return vertical

    def at(self, row: int, column: int) -> Tensor:
        """The horizontal stream of a pixel, ``[B, F]``."""
        above = self._above[:, column]
        if column == 0:
            return above
        left: Tensor = self._start.left.conv(self._padded[:, :, row + 1 : row + 3, column : column + 1])
        return above + left[..., 0, 0]

    def put(self, row: int, column: int, values: Tensor) -> None:
        """Paint a pixel, ``[B, C, 1, 1]``."""
        self.images[:, :, row, column] = values[..., 0, 0]
        self._padded[:, :-1, row + 2, column + 1] = values[..., 0, 0].to(self._padded.dtype)


class _Conv:
    """A shifted convolution that is given its input by rows or by pixels, and keeps one row of it."""

    def __init__(self, conv: ShiftedConv, width: int, constant: Tensor) -> None:
        weight = conv.conv.weight  # [out, in, 2, kernel]
        _, in_dim, _, kernel = weight.shape
        self._above, self._own = (weight[:, :, tap].permute(2, 1, 0).flatten(0, 1) for tap in (0, 1))
        self._constant = constant[:, None]  # [B, 1, out]
        self._stride = conv.stride
        kept = weight.new_zeros(len(constant), conv.left + width + conv.right, in_dim)
        # Views of what is kept, made once: what a pixel and what an output reads, of which windows overlap.
        self._row = kept[:, conv.left : conv.left + width]
        self._pixels = self._row.unbind(1)
        self._windows = kept.view(len(kept), -1).unfold(1, kernel * in_dim, conv.stride * in_dim)
        self._window = self._windows.unbind(1)
        self._base: Tensor
        self._bases: tuple[Tensor, ...] = ()

    def open_row(self, more: Tensor | None = None) -> None:
        """Take what is kept for the row above; ``more`` is added to all that the new row gives."""
        base = self._windows @ self._above + self._constant
        self._base = base if more is None else base + more
        self._bases = self._base.unbind(1)

    def put(self, values: Tensor) -> None:
        """Keep a whole row, ``[B, W, in]``."""
        self._row.copy_(values)

    def put_at(self, column: int, values: Tensor) -> None:
        """Keep a pixel, ``[B, in]``."""
        self._pixels[column].copy_(values)

    def whole(self) -> Tensor:
        """Output of a row that is kept whole, ``[B, W / stride, out]``."""
        return self._base + self._windows @ self._own

    def at(self, column: int) -> Tensor:
        """Output at the pixel that was kept last, ``[B, out]``."""
        place = column // self._stride
        return torch.addmm(self._bases[place], self._window[place], self._own)


class _Block:
    """A gated block, by rows or by pixels."""

    def __init__(self, block: GatedBlock, width: int, embedding: Tensor | None, batch: int) -> None:
        first, last = _constant(block.conv_in.conv, batch), _constant(block.conv_out.conv, batch)
        self._skips: tuple[Tensor, ...] = ()
        if block.skip is not None:
            first = first + _constant(block.skip, batch)
            # What enters is [values, negatives] of each of the maps.
            weight = torch.unflatten(block.skip.weight[:, :, 0, 0].mT, 0, (2, -1, block.skip.out_channels))
            self._skips = tuple(part.flatten(0, 1) for part in weight.unbind(1))
        if block.condition is not None:
            last = last + block.condition(embedding)
        self._first, self._last = _Conv(block.conv_in, width, first), _Conv(block.conv_out, width, last)

    def row(self, values: Tensor, kept: Tensor | None) -> Tensor:
        """A whole row ``[B, W, F]``, and what enters, through the block."""
        self.open_row(kept)
        self._first.put(concat_elu(values, -1))
        self._last.put(concat_elu(self._first.whole(), -1))
        return values + F.glu(self._last.whole(), -1)

    def open_row(self, entering: Tensor | None) -> None:
        """Take what is known of a row before its first pixel: of what enters, the first map."""
        self._first.open_row(None if entering is None else concat_elu(entering, -1) @ self._skips[0])
        self._last.open_row()

    def at(self, column: int, value: Tensor, kept: Tensor | None) -> Tensor:
        """A pixel ``[B, F]``, and what enters there besides, through the block."""
        self._first.put_at(column, concat_elu(value, -1))
        hidden = self._first.at(column)
        if kept is not None:
            hidden = torch.addmm(hidden, concat_elu(kept, -1), self._skips[1])
        self._last.put_at(column, concat_elu(hidden, -1))
        return value + F.glu(self._last.at(column), -1)


class _Pair:
    """The blocks of both streams."""

    def __init__(self, block: nn.Module, width: int, embedding: Tensor | None, batch: int) -> None:
        assert isinstance(block, PixelBlock)
        self._vertical = _Block(block.vertical, width, embedding, batch)
        self._horizontal = _Block(block.horizontal, width, embedding, batch)
        self.at = self._horizontal.at

    def open_row(self, values: Tensor, kept: Tensor | None) -> Tensor:
        """A whole row of the vertical stream, and what enters, through the block."""
        values = self._vertical.row(values, kept)
        self._horizontal.open_row(values)
        return values


class _Level:
    """A level of resolution, and in it all that are coarser."""

    def __init__(self, level: PixelLevel, width: int, embedding: Tensor | None, batch: int) -> None:
        self._up, self._down = (
            [_Pair(block, width, embedding, batch) for block in blocks] for blocks in (level.up, level.down)
        )
        self._coarser = None if level.coarser is None else _Halved(level.coarser, width, embedding, batch)

    def open_row(self, row: int, values: Tensor) -> Tensor:
        """The vertical stream of a row, ``[B, W, F]``, through all blocks."""
        kept = [values]
        for block in self._up:
            kept.append(block.open_row(kept[-1], None))
        values = kept.pop() if self._coarser is None else self._coarser.open_row(row, kept[-1])
        for block in self._down:
            values = block.open_row(values, kept.pop())
        return values

    def at(self, row: int, column: int, value: Tensor) -> Tensor:
        """The horizontal stream of a pixel, ``[B, F]``, through all blocks."""
        kept = [value]
        for block in self._up:
            kept.append(block.at(column, kept[-1], None))
        value = kept.pop() if self._coarser is None else self._coarser.at(row, column, kept[-1])
        for block in self._down:
            value = block.at(column, value, kept.pop())
        return value


class _Halved:
    """A coarser level, which moves on at every second row and column."""

    def __init__(self, halved: HalvedLevel, width: int, embedding: Tensor | None, batch: int) -> None:
        self._level = _Level(halved.level, width // 2, embedding, batch)
        self._shrink_vertical, self._shrink_horizontal = (
            _Conv(layer, width, _constant(layer.conv, batch))
            for layer in (halved.shrink.vertical, halved.shrink.horizontal)
        )
        self._grow = halved.grow
        self._vertical: Tensor
        """Two rows of what the coarser level gives, ``[B, F, 2, W]``."""
        self._horizontal: Tensor

    def open_row(self, row: int, values: Tensor) -> Tensor:
        """The vertical stream of a row, ``[B, W, F]``, to what the coarser level gives there."""
        if row % 2 == 0:
            self._shrink_vertical.open_row()
            self._shrink_horizontal.open_row()
        self._shrink_vertical.put(values)
        if row % 2 == 0:
            coarse = self._level.open_row(row // 2, self._shrink_vertical.whole())
            self._vertical = self._grow.vertical(coarse.mT[:, :, None])
            self._horizontal = torch.empty_like(self._vertical)
        return _pixels_last(self._vertical[:, :, row % 2 : row % 2 + 1])

    def at(self, row: int, column: int, value: Tensor) -> Tensor:
        """The horizontal stream of a pixel, ``[B, F]``, to what the coarser level gives there."""
        self._shrink_horizontal.put_at(column, value)
        if row % 2 == 0 and column % 2 == 0:
            coarse = self._level.at(row // 2, column // 2, self._shrink_horizontal.at(column))
            self._horizontal[..., column : column + 2] = self._grow.horizontal(coarse[..., None, None])
        return self._horizontal[:, :, row % 2, column]


def _constant(layer: nn.Conv2d, batch: int) -> Tensor:
    assert layer.bias is not None
    return layer.bias.expand(batch, -1)


def _pixels_last(row: Tensor) -> Tensor:
    """One row ``[B, F, 1, W]`` as ``[B, W, F]``."""
    return row[:, :, 0].mT
