"""Pictures, maps and labels of one scene as published dense systems prepare them, operation by operation.

Bytes stay bytes and are rounded, floats stay floats. What a person would do today stands in
`fuseloom.train.augmentation`; these reproduce results of others.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fuseloom.errors import DataError

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "blurred",
    "centred",
    "enlarged_to_multiple",
    "jittered",
    "resized",
    "scaled_crop",
    "scaled_size",
    "standardised_bytes",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of red, green and blue in [0, 1]."""

_GREY = (0.2989, 0.587, 0.114)
_LARGEST = 255.0
_TALLER = 4
"""How much wider than high the scaled scene may be, in GeminiFusion's crop."""


def resized(value: Tensor, size: Sequence[int], *, labels: bool = False, antialias: bool = False) -> Tensor:
    """A picture or map ``[C, H, W]`` brought to a size, bilinear; labels are those of the nearest pixel.

    Args:
        value: Bytes, which are rounded, or floats; labels of any kind of number.
        size: Rows and columns.
        labels: Whether it is a map of labels.
        antialias: Whether pixels are averaged where the result is smaller. The versions of torchvision that
            the authors had did not; newer ones do unless they are told.

    Example:
        >>> resized(torch.tensor([[[0, 100]]], dtype=torch.uint8), (1, 4)).tolist()
        [[[0, 25, 75, 100]]]
    """
    rows, columns = size
    if labels:
        whole = F.interpolate(value[None].double(), (rows, columns), mode="nearest")[0]
        return whole.to(value.dtype)
    found = F.interpolate(
        value[None].float(), (rows, columns), mode="bilinear", align_corners=False, antialias=antialias
    )[0]
    return found if value.is_floating_point() else found.round().clamp(0, _LARGEST).to(value.dtype)


def enlarged_to_multiple(
    value: Tensor, shortest: int, *, multiple: int = 32, labels: bool = False, antialias: bool = False
) -> Tensor:
    """A scene ``[C, H, W]`` whose shorter side has a length, then stretched until both divide evenly.

    The two steps are two interpolations, as in the validation of GeminiFusion and DeLiVER.

    Args:
        value: As of `resized`, like what is not told here.
        shortest: Of the first step.
        multiple: What divides both sides of the result.
        labels: Whether it is a map of labels.
        antialias: Whether pixels are averaged.

    Example:
        >>> enlarged_to_multiple(torch.zeros(3, 72, 96), 48).shape
        torch.Size([3, 64, 64])
    """
    scale = shortest / min(value.shape[-2:])
    first = [round(side * scale) for side in value.shape[-2:]]
    second = [math.ceil(side / multiple) * multiple for side in first]
    once = resized(value, first, labels=labels, antialias=antialias)
    return resized(once, second, labels=labels, antialias=antialias)


def scaled_size(size: Sequence[int], target: Sequence[int], ratio: float) -> tuple[int, int]:
    """Rows and columns that a scene is brought to before GeminiFusion crops it.

    Args:
        size: Of the scene.
        target: Of the crop.
        ratio: By how much the crop is magnified: about what the shorter side has, in rows of the crop.

    Example:
        >>> scaled_size((480, 640), (480, 640), 1.5)
        (720, 960)
    """
    wanted = int(target[0] * ratio), int(target[1] * _TALLER * ratio)
    scale = min(max(wanted) / max(size), min(wanted) / min(size))
    return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)


def scaled_crop(
    value: Tensor,
    target: Sequence[int],
    *,
    ratio: float,
    corner: Sequence[int],
    labels: bool = False,
    antialias: bool = False,
    fill: float = 0,
) -> Tensor:
    """GeminiFusion's random crop of a scene ``[C, H, W]``, of numbers that were drawn before.

    Args:
        value: As of `resized`, like what is not told here.
        target: Rows and columns of the crop.
        ratio: As of `scaled_size`.
        corner: The row and the column that are the first of the crop; the authors draw it up to one beyond
            the last that fits.
        labels: Whether it is a map of labels.
        antialias: Whether pixels are averaged.
        fill: What lies beyond the scene, below and to the right; of pictures the authors have zero, before
            these are standardised, and of labels that which does not count.

    Example:
        >>> labels = torch.tensor([[[1, 2], [3, 4]]])
        >>> scaled_crop(labels, (2, 2), ratio=1.0, corner=(1, 0), labels=True, fill=255).tolist()
        [[[3, 4], [255, 255]]]
    """
    whole = resized(value, scaled_size(value.shape[-2:], target, ratio), labels=labels, antialias=antialias)
    rows, columns = target
    part = whole[..., corner[0] : corner[0] + rows, corner[1] : corner[1] + columns]
    beyond = (0, columns - part.shape[-1], 0, rows - part.shape[-2])
    return F.pad(part, beyond, value=fill)


def jittered(
    picture: Tensor, *, brightness: float, contrast: float, saturation: float, largest: float = _LARGEST
) -> Tensor:
    """Brightness, contrast and saturation of a colour picture ``[3, H, W]`` multiplied, in this order.

    Args:
        picture: Bytes, which are cut off, not rounded; or floats up to 255.
        brightness: A factor, like the others; 1 changes nothing.
        contrast: Around the mean grey.
        saturation: Around the grey of each pixel.
        largest: What is larger is cut off. GeminiFusion's runs on NYUDv2 and SUN RGB-D had 1, of floats up
            to 255, which leaves next to nothing of a picture.

    Example:
        >>> red = torch.tensor([200.0, 0.0, 0.0]).view(3, 1, 1)
        >>> jittered(red, brightness=1.5, contrast=1.0, saturation=0.0).flatten()  # 255, then grey
        tensor([76.2195, 76.2195, 76.2195])
    """
    found = _blended(picture, torch.zeros_like(picture), brightness, largest)
    found = _blended(found, _grey(found).float().mean(), contrast, largest)
    return _blended(found, _grey(found), saturation, largest)


def _blended(picture: Tensor, other: Tensor, share: float, largest: float) -> Tensor:
    return (share * picture + (1.0 - share) * other).clamp(0, largest).to(picture.dtype)


def _grey(picture: Tensor) -> Tensor:
    red, green, blue = picture.unbind(-3)
    grey = _GREY[0] * red + _GREY[1] * green + _GREY[2] * blue
    return grey.to(picture.dtype)[..., None, :, :]


def blurred(picture: Tensor, *, sigma: float = 0.8) -> Tensor:
    """A picture ``[C, H, W]`` blurred by a Gaussian of 3 x 3 pixels, mirrored at its edges.

    Args:
        picture: Bytes, which are rounded, or floats.
        sigma: In pixels.

    Example:
        >>> point = torch.zeros(1, 3, 3)
        >>> point[0, 1, 1] = 1
        >>> blurred(point, sigma=1e-3).equal(point)
        True
    """
    line = torch.exp(-0.5 * (torch.arange(-1.0, 2.0) / sigma) ** 2)
    kernel = torch.outer(line, line) / line.sum() ** 2
    count = picture.shape[0]
    padded = F.pad(picture[None].float(), (1, 1, 1, 1), mode="reflect")
    found = F.conv2d(padded, kernel.to(picture.device).expand(count, 1, 3, 3), groups=count)[0]
    return found if picture.is_floating_point() else found.round().clamp(0, _LARGEST).to(picture.dtype)


def standardised_bytes(
    value: Tensor, *, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> Tensor:
    """Numbers up to 255 ``[C, H, W]`` brought to [0, 1], and centred and scaled where a mean is given.

    GeminiFusion and DeLiVER centre colours by ImageNet's, and nothing else.

    Args:
        value: Bytes, or floats up to 255.
        mean: Of each channel, in [0, 1].
        std: Of each channel.

    Example:
        >>> standardised_bytes(torch.tensor([[[255]]], dtype=torch.uint8), mean=[0.5], std=[0.25])
        tensor([[[2.]]])
    """
    shares = value.float() / _LARGEST
    if mean is None or std is None:
        return shares
    centre, scale = (torch.tensor(own, device=value.device)[:, None, None] for own in (mean, std))
    return (shares - centre) / scale


def centred(value: Tensor, size: Sequence[int]) -> Tensor:
    """The middle of a map ``[..., H, W]``; where an odd number goes, one more goes below and to the right.

    In NYUDv2 as TokenFusion and CEN have it, pictures and labels lost a white border that depth still has.

    Raises:
        DataError: the map is smaller than that.

    Example:
        >>> centred(torch.arange(6.0).view(1, 1, 6), (1, 3)).tolist()
        [[[1.0, 2.0, 3.0]]]
    """
    spare = [have - want for have, want in zip(value.shape[-2:], size, strict=True)]
    if min(spare) < 0:
        raise DataError(f"a map must have {list(size)} pixels at least, got {list(value.shape[-2:])}")
    first = [left // 2 for left in spare]
    return value[..., first[0] : first[0] + size[0], first[1] : first[1] + size[1]]
