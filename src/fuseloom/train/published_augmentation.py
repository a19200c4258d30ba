"""How published dense systems change the scenes they learn from, for `Augmentation` to name."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fuseloom.data.published_views import blurred, jittered, scaled_crop, scaled_size
from fuseloom.errors import OptionError

__all__ = ["GeminiFusionScene", "SceneDraw"]

_JITTER = 0.5
"""A factor is at most so far from 1."""
_BYTES, _SHARES = 255.0, 1.0


@dataclass(frozen=True, kw_only=True)
class SceneDraw:
    """The numbers that decide how one scene is changed."""

    jitter: tuple[float, float, float] | None = None
    """Factors of brightness, contrast and saturation, if they change."""
    flip: bool = False
    blur: bool = False
    ratio: float = 1.0
    """By how much what is cut out is magnified."""
    corner: tuple[int, int] = (0, 0)
    """First row and column of that."""


class GeminiFusionScene:
    """A scene jittered, mirrored, blurred, magnified and cropped, as GeminiFusion learns from NYUDv2.

    Only the first picture changes colours and is blurred; a depth that is read as a picture stays beside it.
    Pictures are interpolated, maps of numbers and labels keep theirs. What a crop adds is zero.

    Paper: Jia et al., ICML 2024, arXiv:2406.01210. Differs from the official code: there jitter cuts pictures
    off at 1 of 255, so that one in five is black (``faithful``); and a depth in numbers is interpolated.

    Args:
        size: Rows and columns of the crop.
        scale: Between which numbers the magnification is drawn.
        jitter_p: Probability of other colours.
        flip_p: Probability of a mirror image.
        blur_p: Probability of a blur.
        antialias: Whether pixels of pictures are averaged where these become smaller.
        faithful: Whether jitter cuts pictures off as the official code does.

    Raises:
        OptionError: numbers that are no probabilities, or no sizes.

    Example:
        >>> change = GeminiFusionScene(size=(2, 2), jitter_p=0, flip_p=1.0, blur_p=0)
        >>> drawn = change.draw((2, 2), torch.Generator().manual_seed(0))
        >>> drawn.flip, drawn.jitter, drawn.blur
        (True, None, False)
    """

    def __init__(
        self,
        size: Sequence[int],
        *,
        scale: Sequence[float] = (0.5, 2.0),
        jitter_p: float = 0.2,
        flip_p: float = 0.5,
        blur_p: float = 0.2,
        antialias: bool = False,
        faithful: bool = False,
    ) -> None:
        if len(size) != 2 or not min(size) > 0:
            raise OptionError(f"size must be two positive numbers, rows and columns, got {size}.")
        if len(scale) != 2 or not 0 < scale[0] <= scale[1]:
            raise OptionError(f"scale must be two positive numbers, the lower first, got {scale}.")
        for name, p in (("jitter_p", jitter_p), ("flip_p", flip_p), ("blur_p", blur_p)):
            if not 0 <= p <= 1:
                raise OptionError(f"{name} must be in [0, 1], got {p}.")
        self.size, self.scale = (size[0], size[1]), (scale[0], scale[1])
        self.jitter_p, self.flip_p, self.blur_p = jitter_p, flip_p, blur_p
        self.antialias = antialias
        self.largest = _SHARES if faithful else _BYTES

    def __call__(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """One scene changed, drawn from torch's global generator.

        Args:
            parts: Images of torchvision ``[C, H, W]``, and masks of torchvision for all that is to keep its
                numbers, ``[C, H, W]`` or ``[H, W]``.
        """
        from torchvision.tv_tensors import Image

        pictures = [isinstance(part, Image) for part in parts]
        plain = [part.as_subclass(Tensor) for part in parts]
        return self.apply(plain, pictures, self.draw(parts[0].shape[-2:]))

    def draw(self, size: Sequence[int], generator: torch.Generator | None = None) -> SceneDraw:
        """The numbers for a scene of that many rows and columns.

        Args:
            size: Of the scene.
            generator: torch's global one by default.
        """
        jitter, flip, blur, ratio, row, column = torch.rand(6, generator=generator).tolist()
        factors = (1 + _JITTER * (2 * torch.rand(3, generator=generator) - 1)).tolist()
        low, high = self.scale
        drawn = low + (high - low) * ratio
        spare = [
            max(have - want, 0)
            for have, want in zip(scaled_size(size, self.size, drawn), self.size, strict=True)
        ]
        return SceneDraw(
            jitter=(factors[0], factors[1], factors[2]) if jitter < self.jitter_p else None,
            flip=flip < self.flip_p,
            blur=blur < self.blur_p,
            ratio=drawn,
            corner=(int(row * (spare[0] + 1)), int(column * (spare[1] + 1))),
        )

    def apply(self, parts: Sequence[Tensor], pictures: Sequence[bool], drawn: SceneDraw) -> list[Tensor]:
        """One scene changed so.

        Args:
            parts: ``[C, H, W]`` or ``[H, W]`` each, of one grid.
            pictures: Which of them are interpolated; the first of those is the one in colours.
            drawn: What happens.
        """
        colours = pictures.index(True) if True in pictures else None
        return [
            self._changed(part, drawn, picture=picture, colours=place == colours)
            for place, (part, picture) in enumerate(zip(parts, pictures, strict=True))
        ]

    def _changed(self, part: Tensor, drawn: SceneDraw, *, picture: bool, colours: bool) -> Tensor:
        value = part if part.dim() == 3 else part[None]
        if colours and drawn.jitter is not None and len(value) == 3:
            brightness, contrast, saturation = drawn.jitter
            value = jittered(
                value, brightness=brightness, contrast=contrast, saturation=saturation, largest=self.largest
            )
        if drawn.flip:
            value = value.flip(-1)
        if colours and drawn.blur:
            value = blurred(value)
        value = scaled_crop(
            value,
            self.size,
            ratio=drawn.ratio,
            corner=drawn.corner,
            labels=not picture,
            antialias=picture and self.antialias,
        )
        return value if part.dim() == 3 else value[0]
