"""PixelCNN++: what a pixel knows, the likelihood of images, and any size of batch and image."""

import pytest
import torch
from torch import Tensor

from fuseloom.errors import ModalityError, OptionError
from fuseloom.losses.logistic_mixture import byte_pixels, logistic_mixture_loss, signed_pixels
from fuseloom.models.muse.pixelcnn import PixelCnn


def small(
    embedding_dim: int | None = 5, *, channels: int = 3, num_resnet: int = 1, **options: float
) -> PixelCnn:
    model = PixelCnn(
        embedding_dim, channels=channels, num_resnet=num_resnet, num_filters=4, num_mixtures=2, **options
    )
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.5)
    return model.eval()


def pictures(count: int = 2, channels: int = 3, size: tuple[int, int] = (8, 12)) -> Tensor:
    return torch.rand(count, channels, *size) * 2 - 1


def test_the_default_is_the_published_one() -> None:
    with torch.device("meta"):
        model = PixelCnn(768)
    assert sum(value.numel() for value in model.parameters()) == 21_305_160
    assert model.out.out_channels == 100


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 5), (1, 0), (3, 4), (4, 4), (5, 11), (7, 3)])
def test_a_pixel_knows_those_before_it_only(row: int, column: int) -> None:
    model, images = small(num_resnet=2), pictures(1).requires_grad_()
    logits = model(torch.randn(1, 5), images)
    (gradient,) = torch.autograd.grad(logits[0, :, row, column].square().sum(), images)
    known = gradient[0].abs().sum(0).flatten() > 0
    place = row * 12 + column
    assert not known[place:].any()
    if place:
        assert known[place - 1] or column == 0
        assert known[max(0, place - 12)] or row == 0
        # The two coarser levels reach far: most of what came before is known.
        assert known[:place].float().mean() > 0.5


def test_the_first_pixel_knows_the_embedding_and_no_pixel() -> None:
    model, embedding = small(), torch.randn(1, 5)
    first = model(embedding, pictures(1))[..., 0, 0]
    torch.testing.assert_close(model(embedding, pictures(1))[..., 0, 0], first)
    assert not torch.allclose(model(embedding + 1, pictures(1))[..., 0, 0], first)


def test_images_of_a_batch_do_not_meet_and_any_batch_follows_any_other() -> None:
    model, embedding, images = small(), torch.randn(5, 5), pictures(5)
    all_five = model(embedding, images)
    torch.testing.assert_close(model(embedding[3:], images[3:]), all_five[3:])
    torch.testing.assert_close(model(embedding[:1], images[:1]), all_five[:1])


def test_a_border_is_told_from_grey() -> None:
    logits = small(None)(None, torch.zeros(1, 3, 8, 12))
    assert (logits[..., 4, 6] - logits[..., 0, 6]).abs().max() > 1e-3
    assert (logits[..., 4, 6] - logits[..., 4, 0]).abs().max() > 1e-3


def test_probabilities_of_all_values_of_a_pixel_sum_to_that_of_the_rest() -> None:
    model, levels = small(channels=1).double(), signed_pixels(torch.arange(256, dtype=torch.uint8)).double()
    images = pictures(1, 1, (4, 8)).double().repeat(256, 1, 1, 1)
    images[:, 0, -1, -1] = levels
    embedding = torch.randn(1, 5).double().expand(256, -1)
    loss = model.loss(embedding, images)
    before = loss - logistic_mixture_loss(model(embedding, images)[..., -1:, -1:], images[..., -1:, -1:])
    torch.testing.assert_close(before, before[:1].expand(256))
    assert (before - loss).exp().sum().item() == pytest.approx(1, abs=1e-4)


def test_bytes_are_scaled() -> None:
    model, embedding, images = small(), torch.randn(2, 5), byte_pixels(pictures())
    torch.testing.assert_close(model.loss(embedding, images), model.loss(embedding, signed_pixels(images)))


def test_channels_are_dropped_in_training_only() -> None:
    model, embedding, images = small(), torch.randn(2, 5), pictures()
    torch.testing.assert_close(model(embedding, images), model(embedding, images))
    model.train()
    assert not torch.allclose(model(embedding, images), model(embedding, images))
    without = small(dropout=0.0).train()
    torch.testing.assert_close(without(embedding, images), without(embedding, images))


@pytest.mark.parametrize("embedding_dim", [5, None])
def test_a_gradient_reaches_every_parameter_and_the_embedding(embedding_dim: int | None) -> None:
    model = small(embedding_dim, num_resnet=2)
    embedding = None if embedding_dim is None else torch.randn(2, 5, requires_grad=True)
    model.loss(embedding, pictures()).sum().backward()
    for name, value in model.named_parameters():
        assert value.grad is not None, name
        assert value.grad.isfinite().all(), name
        assert value.grad.any(), name
    assert embedding is None or (embedding.grad is not None and embedding.grad.all())


def test_low_precision_follows_float32() -> None:
    model, embedding, images = small(), torch.randn(2, 5), pictures()
    loss = model.loss(embedding, images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = model.loss(embedding, images)
    whole = model.bfloat16().loss(embedding, images)
    assert cast.dtype == whole.dtype == torch.float32
    torch.testing.assert_close(cast, loss, rtol=0.05, atol=0)
    torch.testing.assert_close(whole, loss, rtol=0.05, atol=0)


@pytest.mark.slow
def test_no_device_is_assumed_and_no_value_read() -> None:
    model, embedding = small().to("meta"), torch.randn(2, 5, device="meta")
    assert model.loss(embedding, pictures(size=(4, 4)).to("meta")).is_meta
    assert model.sample(embedding, (4, 4)).is_meta


@pytest.mark.slow
@pytest.mark.compile
def test_it_compiles_as_one_graph() -> None:
    model, embedding, images = small(), torch.randn(2, 5), pictures()
    compiled = torch.compile(model.loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(embedding, images), model.loss(embedding, images))


@pytest.mark.slow
@pytest.mark.compile
def test_it_is_exported_for_any_batch() -> None:
    model, batch = small(), torch.export.Dim("batch")
    given, shapes = (torch.randn(3, 5), pictures(3)), ({0: batch}, {0: batch})
    program = torch.export.export(model, given, dynamic_shapes=shapes)
    embedding, images = torch.randn(7, 5), pictures(7)
    torch.testing.assert_close(program.module()(embedding, images), model(embedding, images))


@pytest.mark.slow
def test_it_learns_to_paint_what_an_embedding_says() -> None:
    model = PixelCnn(2, num_resnet=1, num_filters=8, num_mixtures=1, dropout=0.0)
    colours = torch.tensor([[0.8, -0.6, 0.0], [-0.4, 0.6, 0.9]])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        images = (colours[:, :, None, None] + 0.05 * torch.randn(2, 3, 4, 4)).clamp(-1, 1)
        optimizer.zero_grad()
        model.loss(torch.eye(2), images).mean().backward()
        optimizer.step()
    painted = model.sample(torch.eye(2).repeat(8, 1), (4, 4)).unflatten(0, (8, 2)).mean((0, 3, 4))
    assert (painted - colours).abs().max() < 0.25


def test_what_does_not_fit_is_refused() -> None:
    model, embedding, images = small(), torch.randn(2, 5), pictures()
    with pytest.raises(ModalityError, match=r"^embedding must be \[B, 5\], got None\."):
        model(None, images)
    with pytest.raises(ModalityError, match=r"^embedding must be \[B, 5\], got \[2, 4\]\."):
        model(embedding[:, :4], images)
    with pytest.raises(ModalityError, match=r"^embedding must be None, got \[2, 5\]\. Set embedding_dim to"):
        small(None)(embedding, images)
    with pytest.raises(ModalityError, match=r"multiples of 4, got \[2, 3, 8, 10\]\. Resize them"):
        model(embedding, pictures(size=(8, 10)))
    with pytest.raises(ModalityError, match=r"^images must be \[B, 3, H, W\] .* got \[2, 1, 8, 12\]"):
        model(embedding, pictures(channels=1))
    with pytest.raises(ModalityError, match=r"^images must be one per embedding, 2, got 3\.$"):
        model(embedding, pictures(3))
    with pytest.raises(
        ModalityError, match=r"^images must be floating, .* got torch\.uint8\. Use signed_pixels"
    ):
        model(embedding, byte_pixels(images))
    with pytest.raises(OptionError, match=r"^num_resnet and num_filters must be positive, got 0 and 80\.$"):
        PixelCnn(5, num_resnet=0)
    with pytest.raises(OptionError, match=r"^channels must be 1 or 3"):
        PixelCnn(5, channels=2)
    with pytest.raises(OptionError, match=r"^size must be of positive multiples of 4, got \(8, 6\)\.$"):
        model.sample(embedding, (8, 6))
