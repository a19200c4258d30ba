"""Maps of numbers, such as depth: a small residual network."""

from typing import Literal, get_args

from torch import Tensor, nn

from fuseloom.encoders._base import Encoder
from fuseloom.encoders._ends import check_choice, make_end
from fuseloom.encoders._maps import MapNorm, map_stages, map_widths
from fuseloom.encoders._shapes import check_shape
from fuseloom.errors import OptionError
from fuseloom.part import zero_masked
from fuseloom.registry import register

__all__ = ["MapEncoder"]


@register("map")
class MapEncoder(Encoder):
    """A residual network of nine convolutions over numbers with holes; that of `ImageEncoder`.

    Args:
        channels: Numbers of each pixel.
        dim: Width of the stream.
        stride: Of the first convolution; 4 suits large maps.
        norm: A ``group`` of channels in each map, or a channel over the ``batch``.
        places: Whether the cells of the last stage tell where they stand.
        output: ``pooled``, mean and maximum over the map in one vector; ``tokens``; or ``map``.
        dropout: Probability of dropping a feature of the last stage.

    Shapes: ``[B, channels, H, W]``, floating, and a mask ``[B, H, W]`` of the pixels that are known, or
    ``[B]``, to ``[B, dim]``, tokens ``[B, N, dim]`` or a map ``[B, dim, H', W']``, and their mask.

    Raises:
        OptionError: an unknown ``norm`` or ``output``, or a ``stride`` below one.

    Example:
        >>> import torch
        >>> encoder = MapEncoder(1, dim=16, output="map")
        >>> encoder(torch.zeros(2, 1, 8, 12), torch.ones(2, 8, 12, dtype=torch.bool))[0].shape
        torch.Size([2, 16, 2, 3])
    """

    def __init__(
        self,
        channels: int = 1,
        *,
        dim: int = 64,
        stride: int = 1,
        norm: MapNorm = "group",
        places: bool = False,
        output: Literal["pooled", "tokens", "map"] = "pooled",
        dropout: float = 0.2,
    ) -> None:
        check_choice("norm", norm, get_args(MapNorm))
        check_choice("output", output, ("pooled", "tokens", "map"))
        if stride < 1:
            raise OptionError(f"stride must be at least 1, got {stride}.")
        stages = map_stages(channels, dim, stride=stride, norm=norm, places=places)
        end = make_end(output, dim, dim, dropout=dropout)
        super().__init__([_Numbers(channels, stages[0]), *stages[1:], end], [*map_widths(dim), dim])


class _Numbers(nn.Module):
    """The mask of a map becomes that of its pixels, and what is unknown zero."""

    def __init__(self, channels: int, then: nn.Module) -> None:
        super().__init__()
        self.channels, self.then = channels, then

    def forward(self, numbers: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        check_shape(numbers, "B", self.channels, "H", "W")
        if mask is not None:
            shown = mask if mask.dim() == 3 else mask[:, None, None]
            mask = shown.expand(-1, *numbers.shape[2:])
            numbers = zero_masked(numbers, mask)
        out: tuple[Tensor, Tensor | None] = self.then(numbers, mask)
        return out
