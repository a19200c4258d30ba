"""Swin Transformers of many streams: all weights shared, but for the norms where streams begin and end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import OptionError, did_you_mean
from fuseloom.models.dense.placed import PixelNorms, Placed, PlacedExchanges, Talk
from fuseloom.models.dense.stream_encoder import StreamEncoder, shared_channels
from fuseloom.nn.dropout import DropPath
from fuseloom.types import Masks, Streams, Trace

__all__ = ["SWIN_SIZES", "PatchMerging", "SwinBlock", "SwinSize", "SwinStreams", "relative_offsets"]

_PATCH = 4
_STD = 0.02


@dataclass(frozen=True, kw_only=True)
class SwinSize:
    """Widths and depths of a Swin Transformer; its width doubles with each stage."""

    dim: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    window: int = 7
    """Side of the windows inside which tokens attend to each other."""
    expansion: int = 4
    """Of the feedforward map."""

    def __post_init__(self) -> None:
        if len(self.num_heads) != len(self.depths):
            raise OptionError(
                f"num_heads must be one for each of {len(self.depths)} stages, got {list(self.num_heads)}."
            )
        if bad := [pair for pair in zip(self.dims, self.num_heads, strict=True) if pair[0] % pair[1]]:
            raise OptionError(f"num_heads must divide dims, got {bad[0][1]} for a width of {bad[0][0]}.")

    @property
    def dims(self) -> tuple[int, ...]:
        """Width of each stage."""
        return tuple(self.dim * 2**stage for stage in range(len(self.depths)))


SWIN_SIZES: Mapping[str, SwinSize] = {
    "tiny": SwinSize(dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24)),
    "small": SwinSize(dim=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24)),
    "base": SwinSize(dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
    "large": SwinSize(dim=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48)),
    "large_window12": SwinSize(dim=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48), window=12),
}
"""Name -> size, as published."""


class SwinBlock(nn.Module):
    """Attention inside windows, which may be shifted by half of their side, and a feedforward map.

    A map that windows do not divide is padded with zeros behind the norm, at the right and below, and the
    padding is attended to, as in the published code.

    Args:
        dim: Width of the tokens.
        num_heads: Attention heads.
        window: Side of a window.
        shifted: Whether windows are shifted.
        expansion: Of the feedforward map.
        drop_path: Probability that a sample's update is dropped, of each modality by itself.
    """

    offsets: Tensor

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        window: int = 7,
        shifted: bool = False,
        expansion: int = 4,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads, self.window, self.shift = num_heads, window, window // 2 if shifted else 0
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.project = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.bias = nn.Parameter(torch.empty((2 * window - 1) ** 2, num_heads))
        """Of attention, by how far a key stands from the query."""
        self.up, self.down = nn.Linear(dim, expansion * dim), nn.Linear(expansion * dim, dim)
        self.drop_path = DropPath(drop_path)
        self.register_buffer("offsets", relative_offsets(window).flatten(), persistent=False)
        nn.init.trunc_normal_(self.bias, std=_STD)

    def forward(self, tokens: Tensor, size: tuple[int, int], talk: Talk) -> Tensor:
        """Tokens of all modalities ``[M, B, N, C]`` of maps of one ``size`` to the same shape."""
        mixed = talk("before_projection", self.attend(self.norm1(tokens), size), tokens)
        update = talk("after_attention", self.project(mixed), tokens)
        changed = tokens + self._dropped(update)
        fed = self.down(F.gelu(self.up(self.norm2(changed))))
        return talk("after_block", changed + self._dropped(fed), tokens)

    def attend(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """What the heads give, beside each other, of each modality by itself."""
        streams, batch, _, dim = tokens.shape
        height, width = size
        below, right = -height % self.window, -width % self.window
        grid = torch.unflatten(tokens.flatten(0, 1), 1, size)
        grid = F.pad(grid, (0, 0, 0, right, 0, below))
        if self.shift:
            grid = grid.roll((-self.shift, -self.shift), (1, 2))
        windows = self._in_windows(grid)  # [S, W, n, C]
        query, key, value = (_heads(part, self.num_heads) for part in self.qkv(windows).chunk(3, -1))
        mask = self._mask(height + below, width + right, like=windows)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        grid = self._as_grid(mixed.transpose(2, 3).flatten(3), height + below, width + right)
        if self.shift:
            grid = grid.roll((self.shift, self.shift), (1, 2))
        return grid[:, :height, :width].reshape(streams, batch, height * width, dim)

    def _in_windows(self, grid: Tensor) -> Tensor:
        """``[S, H, W, C]`` to windows ``[S, W, n, C]``."""
        samples, height, width, dim = grid.shape
        side = self.window
        parts = grid.view(samples, height // side, side, width // side, side, dim)
        return parts.transpose(2, 3).reshape(samples, -1, side * side, dim)

    def _as_grid(self, windows: Tensor, height: int, width: int) -> Tensor:
        samples, _, _, dim = windows.shape
        side = self.window
        parts = windows.view(samples, height // side, width // side, side, side, dim)
        return parts.transpose(2, 3).reshape(samples, height, width, dim)

    def _mask(self, height: int, width: int, *, like: Tensor) -> Tensor:
        """What is added to the scores of each window and head, ``[1 or W, H, n, n]``."""
        count = self.window**2
        bias = self.bias[self.offsets].view(count, count, self.num_heads).permute(2, 0, 1)
        if not self.shift:
            return bias[None].to(like.dtype)
        region = self._regions(height, like.device)[:, None] * 3 + self._regions(width, like.device)
        of_window = self._in_windows(region[None, :, :, None]).squeeze(0).squeeze(-1)  # [W, n]
        apart = of_window[:, None, :] != of_window[:, :, None]
        return (bias[None] + apart[:, None] * -100.0).to(like.dtype)

    def _regions(self, length: int, device: torch.device) -> Tensor:
        """Which of three stretches a line of a shifted map is of, that were not neighbours before."""
        place = torch.arange(length, device=device)
        return (place >= length - self.window).long() + (place >= length - self.shift).long()

    def _dropped(self, update: Tensor) -> Tensor:
        dropped: Tensor = self.drop_path(update.flatten(0, 1))
        return dropped.view(update.shape)


class PatchMerging(nn.Module):
    """Four neighbours become one token of twice the width.

    Args:
        dim: Width of the tokens.

    Example:
        >>> PatchMerging(4)(torch.ones(2, 3, 15, 4), (3, 5)).shape
        torch.Size([2, 3, 6, 8])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm, self.reduce = nn.LayerNorm(4 * dim), nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """``[M, B, N, C]`` of maps of a ``size`` to ``[M, B, N', 2 C]``; an odd side is padded with zeros."""
        grid = torch.unflatten(tokens, 2, size)
        grid = F.pad(grid, (0, 0, 0, size[1] % 2, 0, size[0] % 2))
        parts = [grid[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        merged: Tensor = self.reduce(self.norm(torch.cat(parts, -1).flatten(2, 3)))
        return merged


class SwinStreams(StreamEncoder):
    """Swin Transformer whose weights all modalities share, with exchanges in its blocks.

    Paper: Liu et al., 2021, "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows",
    arXiv:2103.14030. The form is that of GeminiFusion: a norm per modality behind the patches and in front
    of each output, and there only. All streams go through one stem, so that their maps have the same number
    of channels; a map of one channel is repeated. Sides that four does not divide are padded with zeros.

    Args:
        channels: Modality name -> channels of its map, all the same, or one.
        size: Of `SWIN_SIZES`, or one's own.
        exchanges: What stands in the blocks, and where; without any the streams stay apart.
        drop_path: Probability that the last block's update of a sample is dropped; it grows from zero.
        shared_norms: One norm for all modalities at these places too.
        checkpointing: Whether blocks are evaluated again in the backward pass, for memory.

    Raises:
        ModalityError: maps of several numbers of channels.
        OptionError: an unknown size, two exchanges at one place, or exchanges for one modality.

    Records:
        Those of the exchanges, under ``stages.<stage>.<block>.<place>``.

    Example:
        >>> tiny = SwinSize(dim=8, depths=(1, 2), num_heads=(1, 2), window=4)
        >>> net = SwinStreams({"rgb": 3, "depth": 1}, tiny)
        >>> stages, _ = net({"rgb": torch.zeros(2, 3, 32, 50), "depth": torch.zeros(2, 1, 32, 50)})
        >>> [tuple(stage["depth"].shape) for stage in stages]
        [(2, 8, 8, 13), (2, 16, 4, 7)]
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        size: str | SwinSize = "tiny",
        exchanges: Sequence[Placed] = (),
        *,
        drop_path: float = 0.2,
        shared_norms: bool = False,
        checkpointing: bool = False,
    ) -> None:
        size = _size_of(size)
        dims = size.dims
        super().__init__(channels, dims, [_PATCH * 2**stage for stage in range(len(dims))])
        self.in_dim, self.size, self.checkpointing = shared_channels(self.channels), size, checkpointing
        names, count = list(self.channels), sum(size.depths)
        rates = iter([drop_path * number / max(count - 1, 1) for number in range(count)])
        self.embed = nn.Conv2d(self.in_dim, size.dim, _PATCH, stride=_PATCH)
        self.embed_norm = PixelNorms(names, size.dim, shared=shared_norms)
        self.stages = nn.ModuleList(
            nn.ModuleList(
                SwinBlock(
                    dim,
                    num_heads=size.num_heads[stage],
                    window=size.window,
                    shifted=block % 2 == 1,
                    expansion=size.expansion,
                    drop_path=next(rates),
                )
                for block in range(size.depths[stage])
            )
            for stage, dim in enumerate(dims)
        )
        self.merge = nn.ModuleList(PatchMerging(dim) for dim in dims[:-1])
        self.norms = nn.ModuleList(PixelNorms(names, dim, shared=shared_norms) for dim in dims)
        self.apply(_start)
        self.exchanges = PlacedExchanges(names, dims, size.depths, exchanges)

    def run(self, streams: Streams, there: Masks, *, trace: Trace | None) -> list[Streams]:
        values = torch.stack([own.expand(-1, self.in_dim, -1, -1) for own in streams.values()])
        values = F.pad(values, (0, -values.shape[-1] % _PATCH, 0, -values.shape[-2] % _PATCH))
        flat = self.embed(values.flatten(0, 1))
        size = (flat.shape[-2], flat.shape[-1])
        tokens = self.embed_norm(torch.unflatten(flat.flatten(2).transpose(1, 2), 0, values.shape[:2]))
        found: list[Streams] = []
        for stage in range(len(self.dims)):
            tokens = self.run_stage(stage, tokens, size, there, trace)
            normed = torch.unflatten(self.norms[stage](tokens).transpose(2, 3), 3, size)
            found.append(dict(zip(streams, normed.unbind(), strict=True)))
            if stage + 1 < len(self.dims):
                tokens = self.merge[stage](tokens, size)
                size = ((size[0] + 1) // 2, (size[1] + 1) // 2)
        return found

    def run_stage(
        self, stage: int, tokens: Tensor, size: tuple[int, int], there: Masks, trace: Trace | None
    ) -> Tensor:
        """What the blocks of a stage make of its tokens ``[M, B, N, C]``."""
        return self.exchanges.run_stage(
            stage,
            self.stages[stage].children(),
            tokens,
            size,
            there=there,
            trace=trace,
            again=self.checkpointing,
        )


def _size_of(size: str | SwinSize) -> SwinSize:
    if isinstance(size, SwinSize):
        return size
    if size not in SWIN_SIZES:
        hint = did_you_mean(size, SWIN_SIZES)
        raise OptionError(f"size must be one of {list(SWIN_SIZES)}, got {size!r}.{hint}")
    return SWIN_SIZES[size]


def _heads(values: Tensor, count: int) -> Tensor:
    """``[S, W, n, C]`` to ``[S, W, H, n, C / H]``."""
    return torch.unflatten(values, -1, (count, -1)).transpose(2, 3)


def relative_offsets(side: int) -> Tensor:
    """Of each pair of places in a window, the row of the bias that is for how they stand, ``[n, n]``."""
    line = torch.arange(side)
    rows, columns = (part.flatten() for part in torch.meshgrid(line, line, indexing="ij"))
    down = rows[:, None] - rows[None, :] + side - 1
    across = columns[:, None] - columns[None, :] + side - 1
    return down * (2 * side - 1) + across


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
