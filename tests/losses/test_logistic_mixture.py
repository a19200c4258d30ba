"""The mixture of discretised logistics: a distribution over levels, and what is sampled from it."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from fuseloom.errors import ModalityError, OptionError
from fuseloom.losses.logistic_mixture import (
    bits_per_dim,
    byte_pixels,
    count_mixture_logits,
    draw_uniforms,
    logistic_mixture_loss,
    sample_logistic_mixture,
    signed_pixels,
)


def every_image(channels: int, levels: int) -> Tensor:
    """All images of one pixel, ``[levels ** C, C, 1, 1]``."""
    grid = torch.linspace(-1, 1, levels, dtype=torch.float64)
    return torch.cartesian_prod(*[grid] * channels).reshape(-1, channels, 1, 1)


def some_logits(channels: int, count: int, *, sharp: float = 0.0) -> Tensor:
    """Of one pixel, with scales that ``sharp`` makes small."""
    logits = torch.randn(1, count_mixture_logits(channels, count), 1, 1, dtype=torch.float64)
    per_channel = logits[:, count:].unflatten(1, (channels, -1, count))
    per_channel[:, :, 1] -= sharp
    return logits


def probabilities(logits: Tensor, levels: int, channels: int) -> Tensor:
    images = every_image(channels, levels)
    return (-logistic_mixture_loss(logits.expand(len(images), -1, -1, -1), images, levels=levels)).exp()


@pytest.mark.parametrize("sharp", [0.0, 3.0, 9.0])
@pytest.mark.parametrize("levels", [2, 256])
def test_probabilities_of_all_grey_levels_sum_to_one(levels: int, sharp: float) -> None:
    total = probabilities(some_logits(1, 3, sharp=sharp), levels, 1).sum().item()
    # Of a level in the tail the density is taken at its middle, which is no longer its mean.
    assert total == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("sharp", [0.0, 2.0])
def test_probabilities_of_all_colours_sum_to_one(sharp: float) -> None:
    total = probabilities(some_logits(3, 2, sharp=sharp), 6, 3).sum().item()
    assert total == pytest.approx(1, abs=1e-3 if sharp else 1e-4)


def by_hand(logits: np.ndarray, pixel: np.ndarray, half: float) -> float:
    """Log-likelihood of one colour pixel, number by number."""
    count = len(logits) // 10
    weights, rest = logits[:count], logits[count:].reshape(3, 3, count)
    total = 0.0
    for k in range(count):
        means, scales = rest[:, 0, k].copy(), np.exp(np.maximum(rest[:, 1, k], -7))
        red, blue_red, blue_green = np.tanh(rest[:, 2, k])
        means[1] += red * pixel[0]
        means[2] += blue_red * pixel[0] + blue_green * pixel[1]
        probability = math.exp(weights[k]) / np.exp(weights).sum()
        for x, mean, scale in zip(pixel, means, scales, strict=True):
            above = 1.0 if x > 0.999 else 1 / (1 + math.exp(-(x + half - mean) / scale))
            below = 0.0 if x < -0.999 else 1 / (1 + math.exp(-(x - half - mean) / scale))
            probability *= above - below
        total += probability
    return math.log(total)


def test_colours_are_the_formula_of_the_paper() -> None:
    logits = torch.randn(2, 30, 2, 3, dtype=torch.float64) * 0.7
    images = torch.rand(2, 3, 2, 3, dtype=torch.float64) * 2 - 1
    images[0, :, 0, 0], images[1, 1], images[1, 2, 1] = -1, 1, 1.7
    expected = [
        -sum(
            by_hand(logits[b, :, i, j].numpy(), images[b, :, i, j].numpy(), 1 / 255)
            for i, j in product(range(2), range(3))
        )
        for b in range(2)
    ]
    torch.testing.assert_close(logistic_mixture_loss(logits, images), torch.tensor(expected).double())


def test_a_scale_has_a_lower_bound_where_its_gradient_ends() -> None:
    logits = some_logits(1, 1).requires_grad_()
    with torch.no_grad():
        logits[:, 1:] = torch.tensor([0.1, -8.0])[None, :, None, None]
    bounded = logits.detach().clone()
    bounded[:, 2] = -7
    image = torch.full((1, 1, 1, 1), 0.1, dtype=torch.float64)
    loss = logistic_mixture_loss(logits, image)
    torch.testing.assert_close(loss, logistic_mixture_loss(bounded, image))
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[:, 2].item() == 0


def test_far_values_have_the_density_of_a_logistic() -> None:
    logits = torch.tensor([0.0, -0.5, -4.0])[None, :, None, None].double()
    image = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64)
    tail = 1.0 / math.exp(-4)
    expected = tail - 4 - math.log(2 / 255)
    assert logistic_mixture_loss(logits, image).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_are_exact(channels: int) -> None:
    logits = torch.randn(2, count_mixture_logits(channels, 2), 2, 2, dtype=torch.float64, requires_grad=True)
    images = (torch.rand(2, channels, 2, 2, dtype=torch.float64) - 0.5).requires_grad_()
    assert torch.autograd.gradcheck(logistic_mixture_loss, (logits, images))


def test_low_precision_is_read_and_not_computed_in() -> None:
    logits, images = torch.randn(2, 20, 4, 4).bfloat16(), torch.rand(2, 3, 4, 4) * 2 - 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = logistic_mixture_loss(logits, images)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, logistic_mixture_loss(logits.float(), images))


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_logits_stay_finite(size: float) -> None:
    logits = torch.full((1, 10, 2, 2), size, requires_grad=True)
    loss = logistic_mixture_loss(logits, torch.linspace(-1, 1, 12).reshape(1, 3, 2, 2))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(("channels", "levels"), [(1, 8), (3, 2)])
def test_what_is_sampled_has_the_likelihood_that_the_loss_states(channels: int, levels: int) -> None:
    logits, draws = some_logits(channels, 2, sharp=0.7), 200_000
    wide = logits.expand(-1, -1, draws, 1)
    uniforms = draw_uniforms((1, 2 + channels, draws, 1))
    samples = sample_logistic_mixture(wide, uniforms, channels=channels, levels=levels)
    places = ((samples[0, :, :, 0] + 1) / 2 * (levels - 1)).round().long()  # [C, draws]
    index = sum(places[c] * levels ** (channels - 1 - c) for c in range(channels))
    found = torch.bincount(torch.as_tensor(index), minlength=levels**channels) / draws
    expected = probabilities(logits, levels, channels)
    error = (expected * (1 - expected) / draws).sqrt()
    assert ((found - expected).abs() < 5 * error + 1e-5).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_values_stand_on_levels_unless_faithful(channels: int) -> None:
    logits, uniforms = (
        torch.randn(2, count_mixture_logits(channels, 3), 5, 4),
        draw_uniforms((2, 3 + channels, 5, 4)),
    )
    sampled = sample_logistic_mixture(logits, uniforms, channels=channels)
    between = sample_logistic_mixture(logits, uniforms, channels=channels, faithful=True)
    torch.testing.assert_close(sampled, signed_pixels(byte_pixels(sampled)))
    assert not torch.allclose(between, signed_pixels(byte_pixels(between)), atol=1e-4)
    assert (sampled[:, 0] - between[:, 0]).abs().max() <= 1 / 255 + 1e-6
    assert between.abs().max() <= 1


def test_noise_of_one_half_gives_the_mean_of_the_heaviest_component() -> None:
    logits = torch.zeros(1, 20, 1, 1)
    logits[:, 1] = 3.0
    per_channel = logits[:, 2:].unflatten(1, (3, 3, 2))
    per_channel[:, :, 0, 1] = torch.tensor([0.4, -0.2, 0.1])[None, :, None, None]
    per_channel[:, :, 2, 1] = torch.tensor([0.5, -1.0, 2.0])[None, :, None, None]
    red = 0.4
    green = -0.2 + math.tanh(0.5) * red
    blue = 0.1 + math.tanh(-1.0) * red + math.tanh(2.0) * green
    sampled = sample_logistic_mixture(logits, torch.full((1, 5, 1, 1), 0.5), faithful=True)
    torch.testing.assert_close(sampled.flatten(), torch.tensor([red, green, blue]))


def test_noise_is_repeated_by_its_generator_and_keeps_off_the_ends() -> None:
    first, second = (draw_uniforms((500, 400), generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.equal(second)
    assert 1e-5 <= first.min() < 1e-4
    assert 1 - 1e-4 < first.max() <= 1 - 1e-5
    assert first.mean().item() == pytest.approx(0.5, abs=0.005)


def test_bytes_and_values_are_the_same_levels() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    values = signed_pixels(every)
    torch.testing.assert_close(values, torch.linspace(-1, 1, 256))
    assert byte_pixels(values).equal(every)
    assert byte_pixels(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def test_bits_per_value_of_a_uniform_distribution_are_those_of_a_byte() -> None:
    torch.testing.assert_close(bits_per_dim(torch.tensor([48 * math.log(256)]), 48), torch.tensor([8.0]))


def test_what_does_not_fit_is_refused() -> None:
    images = torch.zeros(2, 3, 4, 4)
    with pytest.raises(
        ModalityError, match=r"^logits must be 10 per component for 3 channel\(s\), got 12\.$"
    ):
        logistic_mixture_loss(torch.zeros(2, 12, 4, 4), images)
    with pytest.raises(ModalityError, match=r"^images must have 1 channel or 3, got 2\.$"):
        logistic_mixture_loss(torch.zeros(2, 10, 4, 4), images[:, :2])
    with pytest.raises(
        ModalityError, match=r"^images must be of the batch and size of logits, \[2, 10, 4, 5\]"
    ):
        logistic_mixture_loss(torch.zeros(2, 10, 4, 5), images)
    with pytest.raises(OptionError, match=r"^levels must be at least 2, got 1\.$"):
        logistic_mixture_loss(torch.zeros(2, 10, 4, 4), images, levels=1)
    with pytest.raises(
        ModalityError, match=r"^uniforms must be \[B, K \+ C, H, W\], \[2, 4, 4, 4\], got \[2, 3,"
    ):
        sample_logistic_mixture(torch.zeros(2, 10, 4, 4), torch.zeros(2, 3, 4, 4))
    with pytest.raises(
        OptionError, match=r"^channels must be 1 or 3 and num_mixtures at least 1, got 3 and 0\.$"
    ):
        count_mixture_logits(3, 0)
