"""Images: a small residual network, or patches of raw pixels."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.encoders._base import Encoder
from fuseloom.encoders._ends import check_choice, make_end
from fuseloom.encoders._maps import MapNorm, map_stages, map_widths
from fuseloom.encoders._shapes import check_shape
from fuseloom.errors import OptionError
from fuseloom.nn import SinusoidalPositions, shorten_mask
from fuseloom.part import zero_masked
from fuseloom.registry import register

__all__ = ["ImageEncoder"]

_HALF = 127.5


@register("image")
class ImageEncoder(Encoder):
    """A residual network of nine convolutions, or patches with their place, from pixels; no download.

    The body ``resnet`` has three stages that halve the sides (the first by ``stride``) and widen to ``dim``.
    ``patch`` maps squares of pixels to tokens, adds where they stand, and does nothing else, so that a fusion
    may start on raw patches. Sides that the stride or patch does not divide are padded with mid-grey.

    Args:
        channels: 1 for grey, 3 for colour.
        dim: Width of the stream.
        body: ``resnet`` or ``patch``.
        stride: Of the first convolution of ``resnet``; 4 suits photographs.
        norm: Of ``resnet``: a ``group`` of channels in each picture, or a channel over the ``batch``,
            which keeps statistics, also ends the last block, and learns small things far sooner.
        places: Whether the cells of ``resnet`` tell where they stand, as patches do.
        patch: Side of a square of ``patch``, in pixels.
        output: ``pooled``, mean and maximum over the picture in one vector; ``tokens``; or ``map``.
        dropout: Probability of dropping a feature of the last stage.

    Shapes: ``[B, channels, H, W]``, uint8 or floating in [-1, 1], and a mask ``[B]``, or ``[B, H, W]`` for
    pictures that were padded to one size, to ``[B, dim]``, tokens ``[B, N, dim]`` or a map
    ``[B, dim, H', W']``, and their mask.

    Raises:
        OptionError: an unknown ``body``, ``norm`` or ``output``, or ``stride`` or ``patch`` below one.

    Example:
        >>> encoder = ImageEncoder(3, dim=16, body="patch", patch=4, output="tokens")
        >>> encoder(torch.zeros(2, 3, 8, 10, dtype=torch.uint8))[0].shape
        torch.Size([2, 6, 16])
    """

    def __init__(  # noqa: PLR0913  one option per choice
        self,
        channels: int = 3,
        *,
        dim: int = 64,
        body: Literal["resnet", "patch"] = "resnet",
        stride: int = 1,
        norm: MapNorm = "group",
        places: bool = False,
        patch: int = 8,
        output: Literal["pooled", "tokens", "map"] = "pooled",
        dropout: float = 0.2,
    ) -> None:
        check_choice("body", body, ("resnet", "patch"))
        check_choice("norm", norm, get_args(MapNorm))
        check_choice("output", output, ("pooled", "tokens", "map"))
        if min(stride, patch) < 1:
            raise OptionError(f"stride and patch must be at least 1, got {stride} and {patch}.")
        widths = map_widths(dim) if body == "resnet" else (dim,)
        if body == "resnet":
            stages = map_stages(channels, dim, stride=stride, norm=norm, places=places)
        else:
            stages = [_Patches(channels, dim, patch)]
        end = make_end(output, dim, dim, dropout=dropout)
        super().__init__([_Pixels(channels, stages[0]), *stages[1:], end], [*widths, dim])


class _Pixels(nn.Module):
    """Bytes become numbers about zero, and the mask of a picture that of its pixels."""

    def __init__(self, channels: int, then: nn.Module) -> None:
        super().__init__()
        self.channels, self.then = channels, then

    def forward(self, pixels: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        check_shape(pixels, "B", self.channels, "H", "W")
        if pixels.dtype == torch.uint8:
            pixels = pixels.to(next(self.then.parameters()).dtype) / _HALF - 1
        if mask is not None:
            shown = mask if mask.dim() == 3 else mask[:, None, None]
            mask = shown.expand(-1, *pixels.shape[2:])
            pixels = zero_masked(pixels, mask)
        out: tuple[Tensor, Tensor | None] = self.then(pixels, mask)
        return out


class _Patches(nn.Module):
    def __init__(self, channels: int, dim: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.project = nn.Conv2d(channels, dim, patch, stride=patch)
        self.norm, self.positions = nn.LayerNorm(dim), SinusoidalPositions()

    def forward(self, pixels: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        padded = F.pad(pixels, (0, self.patch - 1, 0, self.patch - 1))  # what is too much is not read
        places = self.positions(self.norm(self.project(padded).movedim(1, -1)))
        return places.movedim(-1, 1), None if mask is None else shorten_mask(mask, self.patch)
