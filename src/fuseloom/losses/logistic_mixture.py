"""Mixtures of discretised logistics: the likelihood of pixels in PixelCNN++, and sampling from it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from fuseloom.errors import ModalityError, OptionError

__all__ = [
    "bits_per_dim",
    "byte_pixels",
    "count_mixture_logits",
    "draw_uniforms",
    "logistic_mixture_loss",
    "sample_logistic_mixture",
    "signed_pixels",
]

_LEVELS = 256
_LOGITS = {1: 3, 3: 10}
"""Channels -> logits per component: its weight, and of each channel a mean, a scale and a coefficient."""
_LOWEST_LOG_SCALE = -7.0
_EDGE = 1e-3
_LEAST_MASS, _FLOOR = 1e-5, 1e-12
_MARGIN = 1e-5


class _Mixture(NamedTuple):
    """What logits say, in float32 at least."""

    weights: Tensor
    """Logits of the components, ``[B, K, H, W]``."""
    means: Tensor
    """``[B, C, K, H, W]``, for colours before what the channels before add."""
    log_scales: Tensor
    """``[B, C, K, H, W]``."""
    coefficients: tuple[Tensor, ...]
    """Of red in green, of red in blue and of green in blue, ``[B, K, H, W]``; none for grey."""


def count_mixture_logits(channels: int, num_mixtures: int) -> int:
    """Logits per pixel of a mixture: ten per component for colours, three for grey.

    Raises:
        OptionError: neither one channel nor three, or no component.

    Example:
        >>> count_mixture_logits(3, 10)
        100
    """
    if channels not in _LOGITS or num_mixtures < 1:
        raise OptionError(
            f"channels must be 1 or 3 and num_mixtures at least 1, got {channels} and {num_mixtures}."
        )
    return _LOGITS[channels] * num_mixtures


def signed_pixels(images: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Bytes as the values from -1 to 1 that the likelihood is of.

    Example:
        >>> signed_pixels(torch.tensor([0, 51, 255], dtype=torch.uint8))
        tensor([-1.0000, -0.6000,  1.0000])
    """
    return images.to(torch.float32) / 127.5 - 1


def byte_pixels(images: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Values from -1 to 1 as bytes, each the nearest.

    Example:
        >>> byte_pixels(torch.tensor([-1.0, -0.6, 1.0]))
        tensor([  0,  51, 255], dtype=torch.uint8)
    """
    return ((images.to(torch.float32) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def bits_per_dim(nats: Float[Tensor, "*batch"], num_values: int) -> Float[Tensor, "*batch"]:
    """Nats of an image as bits per value.

    Args:
        nats: What `logistic_mixture_loss` gives.
        num_values: Channels times height times width.

    Example:
        >>> bits_per_dim(torch.tensor([12 * 8 * 0.693147]), 12)
        tensor([8.0000])
    """
    return nats / (num_values * math.log(2))


def logistic_mixture_loss(
    logits: Float[Tensor, "batch logit height width"],
    images: Float[Tensor, "images channel rows columns"],
    *,
    levels: int = _LEVELS,
) -> Float[Tensor, " batch"]:
    r"""Negative log-likelihood of images under a mixture of discretised logistics per pixel, in nats.

    .. math:: -\sum_{h, w} \log \sum_k \pi_k \prod_c
        \left[\sigma\!\left(\frac{x_c + \delta - \mu_{kc}}{s_{kc}}\right) -
        \sigma\!\left(\frac{x_c - \delta - \mu_{kc}}{s_{kc}}\right)\right]

    with :math:`\delta` half the distance of two levels; the lowest level takes all below it, the highest all
    above. The mean of green is moved by the red there is, that of blue by red and green. Where a level has
    hardly any mass, it is the density times the distance. Computed in float32 at least.

    Values beyond -1 and 1 count as the lowest and the highest level. The official code of MuSE scores targets
    of another range, about -2.6 to 2.4: give it such to repeat it.

    Paper: Salimans et al., 2017, "PixelCNN++", arXiv:1701.05517, section 2.1. Official code: MuSE's
    ``discretized_mix_logistic_loss`` and ``..._1d``, summed there over the batch.

    Args:
        logits: ``[B, 10 K, H, W]`` for colours and ``[B, 3 K, H, W]`` for grey: ``K`` weights, then of each
            channel ``K`` means, ``K`` logarithms of scales and, for colours, ``K`` coefficients.
        images: ``[B, 3, H, W]`` or ``[B, 1, H, W]``, levels spread evenly from -1 to 1; see `signed_pixels`.
        levels: How many there are.

    Returns:
        ``[B]``, the sum over all pixels; see `bits_per_dim`.

    Raises:
        ModalityError: images of neither one channel nor three, or logits that do not fit them.
        OptionError: fewer than two levels.

    Example:
        >>> loss = logistic_mixture_loss(torch.zeros(2, 100, 4, 4), torch.zeros(2, 3, 4, 4))
        >>> bits_per_dim(loss, 3 * 4 * 4)
        tensor([8.9944, 8.9944])
    """
    _check(logits, images.shape[1])
    _check_levels(levels)
    if images.shape[2:] != logits.shape[2:] or images.shape[0] != logits.shape[0]:
        raise ModalityError(
            f"images must be of the batch and size of logits, {list(logits.shape)}, got {list(images.shape)}."
        )
    mixture = _mixture(logits, images.shape[1])
    pixels = images.to(mixture.means.dtype)[:, :, None]  # [B, C, 1, H, W]
    means = _moved(mixture, pixels)
    log_prob = _log_prob(pixels, means, mixture.log_scales, 1 / (levels - 1)).sum(1)  # [B, K, H, W]
    return -(log_prob + mixture.weights.log_softmax(1)).logsumexp(1).sum((1, 2))


def _log_prob(pixels: Tensor, means: Tensor, log_scales: Tensor, half: float) -> Tensor:
    """Of each level under each component; ``half`` is the half distance of two levels."""
    sharpness, centred = (-log_scales).exp(), pixels - means
    upper, lower, middle = (sharpness * (centred + shift) for shift in (half, -half, 0.0))
    mass = upper.sigmoid() - lower.sigmoid()
    # In the tails the difference of two sigmoids is rounding; the density there varies little within a level.
    density = middle - log_scales - 2 * F.softplus(middle) + math.log(2 * half)
    inside = torch.where(mass > _LEAST_MASS, mass.clamp(min=_FLOOR).log(), density)
    edge = 1 - min(_EDGE, half / 2)
    below_top = torch.where(pixels > edge, F.logsigmoid(-lower), inside)
    return torch.where(pixels < -edge, F.logsigmoid(upper), below_top)


def draw_uniforms(
    shape: Sequence[int], *, generator: torch.Generator | None = None, device: torch.device | None = None
) -> Float[Tensor, "..."]:
    """Uniform noise for `sample_logistic_mixture`, which keeps off zero and one as the official code does.

    Args:
        shape: ``[B, K + C, H, W]``.
        generator: Draws it, on its own device; torch's global one where there is none.
        device: Where the noise is wanted.

    Example:
        >>> draw_uniforms((2, 13, 4, 4)).shape
        torch.Size([2, 13, 4, 4])
    """
    origin = device if generator is None else generator.device
    drawn = torch.rand(tuple(shape), generator=generator, device=origin)
    return (_MARGIN + (1 - 2 * _MARGIN) * drawn).to(device)


def sample_logistic_mixture(
    logits: Float[Tensor, "batch logit height width"],
    uniforms: Float[Tensor, "images noise rows columns"],
    *,
    channels: int = 3,
    levels: int = _LEVELS,
    faithful: bool = False,
) -> Float[Tensor, "batch channel height width"]:
    """Images that `logistic_mixture_loss` is the likelihood of: a function of logits and uniform noise.

    A component by the Gumbel trick, then its logistic by inversion; green is moved by the red that was
    sampled, blue by both. Differs from the official code: there values stay between the levels, so that the
    next channel and the next pixel are moved by what no image has; ``faithful`` leaves them so.

    Args:
        logits: As for the loss.
        uniforms: ``[B, K + C, H, W]``, from `draw_uniforms`: ``K`` numbers choose the component, ``C`` the
            values.
        channels: ``C``, 1 or 3.
        levels: How many there are.
        faithful: Leave values between the levels.

    Returns:
        ``[B, C, H, W]``, from -1 to 1.

    Raises:
        ModalityError: ``channels`` neither one nor three, or logits or noise that do not fit.
        OptionError: fewer than two levels.

    Example:
        >>> images = sample_logistic_mixture(torch.zeros(2, 100, 4, 4), draw_uniforms((2, 13, 4, 4)))
        >>> byte_pixels(images).shape
        torch.Size([2, 3, 4, 4])
    """
    _check(logits, channels)
    _check_levels(levels)
    mixture = _mixture(logits, channels)
    _check_uniforms(uniforms, mixture.means)
    count = mixture.weights.shape[1]
    noise = uniforms.to(mixture.means.dtype)
    chosen = (mixture.weights - (-noise[:, :count].log()).log()).argmax(1, keepdim=True)  # [B, 1, H, W]
    values = mixture.means + mixture.log_scales.exp() * noise[:, count:, None].logit()
    free = values.take_along_dim(chosen[:, None], 2)[:, :, 0]  # [B, C, H, W]
    steps = 0 if faithful else levels - 1
    if channels == 1:
        return _bounded(free, steps)
    red_green, red_blue, green_blue = (c.take_along_dim(chosen, 1) for c in mixture.coefficients)
    red = _bounded(free[:, :1], steps)
    green = _bounded(free[:, 1:2] + red_green * red, steps)
    blue = _bounded(free[:, 2:] + red_blue * red + green_blue * green, steps)
    return torch.cat([red, green, blue], dim=1)


def _bounded(values: Tensor, steps: int) -> Tensor:
    """Within -1 and 1, on the nearest of the levels that are ``steps`` apart in all; anywhere for zero."""
    bounded = values.clamp(-1, 1)
    return ((bounded + 1) * (steps / 2)).round() * (2 / steps) - 1 if steps else bounded


def _mixture(logits: Tensor, channels: int) -> _Mixture:
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    count = wide.shape[1] // _LOGITS[channels]
    parts = torch.unflatten(wide[:, count:], 1, (channels, -1, count)).unbind(2)  # each [B, C, K, H, W]
    coefficients = parts[2].tanh().unbind(1) if channels == 3 else ()
    return _Mixture(wide[:, :count], parts[0], parts[1].clamp(min=_LOWEST_LOG_SCALE), coefficients)


def _moved(mixture: _Mixture, pixels: Tensor) -> Tensor:
    """Means given the channels before, ``[B, C, K, H, W]``."""
    if not mixture.coefficients:
        return mixture.means
    red_green, red_blue, green_blue = mixture.coefficients
    red, green, _ = pixels.unbind(1)  # each [B, 1, H, W]
    first, second, third = mixture.means.unbind(1)
    return torch.stack([first, second + red_green * red, third + red_blue * red + green_blue * green], dim=1)


def _check(logits: Tensor, channels: int) -> None:
    if channels not in _LOGITS:
        raise ModalityError(f"images must have 1 channel or 3, got {channels}.")
    each = _LOGITS[channels]
    if logits.shape[1] % each or not logits.shape[1]:
        raise ModalityError(
            f"logits must be {each} per component for {channels} channel(s), got {logits.shape[1]}."
        )


def _check_levels(levels: int) -> None:
    if levels < 2:
        raise OptionError(f"levels must be at least 2, got {levels}.")


def _check_uniforms(uniforms: Tensor, means: Tensor) -> None:
    batch, channels, count, *size = means.shape
    wanted = [batch, count + channels, *size]
    if list(uniforms.shape) != wanted:
        raise ModalityError(f"uniforms must be [B, K + C, H, W], {wanted}, got {list(uniforms.shape)}.")
