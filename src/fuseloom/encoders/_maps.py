"""Stages over a feature map: residual blocks that halve its sides and double its width."""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from fuseloom.nn import MaskedBatchNorm, MaskedConv, MaskedGroupNorm, MaskedResidual, SinusoidalPositions

__all__ = ["MapNorm", "map_stages", "map_widths"]

MapNorm = Literal["group", "batch"]

_NARROWEST = 8
_NORMS: Mapping[MapNorm, Callable[[int], nn.Module]] = {"group": MaskedGroupNorm, "batch": MaskedBatchNorm}


def map_widths(dim: int) -> tuple[int, int, int]:
    """Widths of the maps after each stage; the last is that of the stream."""
    return max(dim // 4, _NARROWEST), max(dim // 2, _NARROWEST), dim


def map_stages(
    channels: int, dim: int, *, stride: int, norm: MapNorm = "group", places: bool = False
) -> list[nn.Module]:
    """Three stages ``[B, C, H, W]`` to maps of the `map_widths`: stride of the first, then 2 and 2.

    With norms over the ``batch`` the last ends as its blocks begin; with ``places`` its cells tell where they
    stand.
    """
    first, second, third = map_widths(dim)
    build = _NORMS[norm]
    stages: list[nn.Module] = [
        _Stem(channels, first, stride, build),
        MaskedResidual(first, second, axes=2, stride=2, norm=build),
        MaskedResidual(second, third, axes=2, stride=2, norm=build),
    ]
    if norm == "batch":
        stages[-1] = _Normed(stages[-1], third)
    if places:
        stages[-1] = _Placed(stages[-1])
    return stages


class _Stem(nn.Module):
    def __init__(self, channels: int, dim: int, stride: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.conv = MaskedConv(channels, dim, axes=2, kernel=2 * stride + 1, stride=stride)
        self.block = MaskedResidual(dim, dim, axes=2, norm=norm)

    def forward(self, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        value, mask = self.conv(value, mask)
        out: tuple[Tensor, Tensor | None] = self.block(value, mask)
        return out


class _Normed(nn.Module):
    """A stage, and behind it what each of its blocks begins with: a norm and ReLUs."""

    def __init__(self, stage: nn.Module, dim: int) -> None:
        super().__init__()
        self.stage, self.norm = stage, MaskedBatchNorm(dim)

    def forward(self, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        value, mask = self.stage(value, mask)
        return torch.relu(self.norm(value, mask)), mask


class _Placed(nn.Module):
    """A stage, and where each cell of its map stands."""

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        self.stage, self.positions = stage, SinusoidalPositions()

    def forward(self, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        value, mask = self.stage(value, mask)
        return self.positions(value.movedim(1, -1)).movedim(-1, 1), mask
