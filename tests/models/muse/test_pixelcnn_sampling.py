"""Painting pixel by pixel equals whole forwards, at the cost of one of them."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from fuseloom.losses.logistic_mixture import (
    byte_pixels,
    draw_uniforms,
    sample_logistic_mixture,
    signed_pixels,
)
from fuseloom.models.muse.pixelcnn import PixelCnn


def small(embedding_dim: int | None = 5, *, channels: int = 3, num_resnet: int = 1, dim: int = 4) -> PixelCnn:
    model = PixelCnn(embedding_dim, channels=channels, num_resnet=num_resnet, num_filters=dim, num_mixtures=3)
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.4)
    return model.eval()


@torch.no_grad()
def painted_by_forwards(
    model: PixelCnn, embedding: Tensor | None, uniforms: Tensor, *, faithful: bool
) -> Tensor:
    """A forward over the whole image for every pixel."""
    size = uniforms.shape[2:]
    images = torch.zeros(len(uniforms), model.channels, *size, dtype=model.out.bias.dtype)
    for row in range(size[0]):
        for column in range(size[1]):
            here = (..., slice(row, row + 1), slice(column, column + 1))
            logits = model(embedding, images)[here]
            images[here] = sample_logistic_mixture(
                logits, uniforms[here], channels=model.channels, faithful=faithful
            )
    return images


def drawn(count: int, channels: int, size: tuple[int, int]) -> Tensor:
    """The noise that `sample` draws from a generator of seed one."""
    return draw_uniforms((count, 3 + channels, *size), generator=torch.Generator().manual_seed(1))


def painted(model: PixelCnn, embedding: Tensor | None, size: tuple[int, int], *, faithful: bool) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return model.sample(embedding, size, num_images=3, generator=generator, faithful=faithful)


@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize(
    ("num_resnet", "size"), [(1, (8, 8)), (2, (4, 8)), pytest.param(2, (12, 8), marks=pytest.mark.slow)]
)
def test_painting_is_a_forward_over_the_image_for_every_pixel(
    num_resnet: int, size: tuple[int, int], faithful: bool
) -> None:
    model, embedding = small(num_resnet=num_resnet).double(), torch.randn(2, 5).double()
    expected = painted_by_forwards(model, embedding, drawn(2, 3, size), faithful=faithful)
    found = painted(model, embedding, size, faithful=faithful)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    assert found.std() > 0.3  # an image of edges would hide what the layers give


@pytest.mark.parametrize("embedding_dim", [5, None])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("num_resnet", "size"), [(1, (8, 8)), (1, (12, 8)), (2, (8, 8)), (2, (12, 8))])
def test_one_forward_over_the_painted_image_draws_it_again(
    num_resnet: int, size: tuple[int, int], channels: int, embedding_dim: int | None
) -> None:
    """As no pixel sees a later one: by induction, this is a forward for every pixel."""
    model = small(embedding_dim, channels=channels, num_resnet=num_resnet)
    embedding = None if embedding_dim is None else torch.randn(3, 5)
    found = painted(model, embedding, size, faithful=True)
    again = sample_logistic_mixture(
        model(embedding, found), drawn(3, channels, size), channels=channels, faithful=True
    )
    torch.testing.assert_close(found, again, rtol=0, atol=2e-4)
    assert found.std() > 0.3


class Multiplications(TorchDispatchMode):
    """Counts those of matrix products and convolutions."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


def test_painting_multiplies_as_often_as_one_forward() -> None:
    model, embedding, size = small(dim=8), torch.randn(1, 5), (4, 8)
    counts = []
    for run in (lambda: model.sample(embedding, size), lambda: model(embedding, torch.zeros(1, 3, *size))):
        with Multiplications() as counted:
            run()
        counts.append(counted.total)
    assert 0.8 < counts[0] / counts[1] < 1.2


def test_values_stand_on_levels_and_dropout_off() -> None:
    model, embedding = small(), torch.randn(2, 5)
    images = [
        model.train(training).sample(embedding, (4, 8), generator=torch.Generator().manual_seed(2))
        for training in (False, True)
    ]
    assert images[0].equal(images[1])
    torch.testing.assert_close(images[0], signed_pixels(byte_pixels(images[0])))


def test_painting_leaves_the_model_to_be_trained() -> None:
    model, embedding = small(), torch.randn(2, 5)
    images = model.sample(embedding, (4, 4))
    assert not images.requires_grad
    model.loss(embedding, images).sum().backward()
    assert all(value.grad is not None and value.grad.any() for value in model.parameters())


def test_bfloat16_paints_in_float32() -> None:
    images = small().bfloat16().sample(torch.randn(2, 5), (4, 4))
    assert images.dtype == torch.float32
    torch.testing.assert_close(images, signed_pixels(byte_pixels(images)))
