"""Stages over a feature map: residual blocks that halve its sides and double its width."""

from collections.abc import Callable

from torch import Tensor, nn

from fuseloom.nn import MaskedConv, MaskedGroupNorm, MaskedResidual

__all__ = ["map_stages", "map_widths"]

_NARROWEST = 8


def map_widths(dim: int) -> tuple[int, int, int]:
    """Widths of the maps after each stage; the last is that of the stream."""
    return max(dim // 4, _NARROWEST), max(dim // 2, _NARROWEST), dim


def map_stages(
    channels: int, dim: int, *, stride: int, norm: Callable[[int], nn.Module] = MaskedGroupNorm
) -> list[nn.Module]:
    """Three stages ``[B, C, H, W]`` to maps of the `map_widths`: stride of the first, then 2 and 2."""
    first, second, third = map_widths(dim)
    return [
        _Stem(channels, first, stride, norm),
        MaskedResidual(first, second, axes=2, stride=2, norm=norm),
        MaskedResidual(second, third, axes=2, stride=2, norm=norm),
    ]


class _Stem(nn.Module):
    def __init__(self, channels: int, dim: int, stride: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.conv = MaskedConv(channels, dim, axes=2, kernel=2 * stride + 1, stride=stride)
        self.block = MaskedResidual(dim, dim, axes=2, norm=norm)

    def forward(self, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        value, mask = self.conv(value, mask)
        out: tuple[Tensor, Tensor | None] = self.block(value, mask)
        return out
