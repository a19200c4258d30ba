"""Convolutions that see no pixel after their own: what they see, and what they compute."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import OptionError
from fuseloom.nn.shifted_convolution import ShiftedConv, ShiftedDeconv, concat_elu, pointwise

HEIGHT, WIDTH = 4, 6


def seen(layer: nn.Module) -> Tensor:
    """Which input pixels each output pixel depends on, ``[H', W', H, W]``."""
    for name, value in layer.named_parameters():
        nn.init.constant_(value, 0.0 if name.endswith("bias") else 1.0)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x)[0, 0], torch.zeros(1, 1, HEIGHT, WIDTH))
    return jacobian[:, :, 0, 0] != 0


@pytest.mark.parametrize(
    ("direction", "kernel", "options", "rows", "columns"),
    [
        ("down", (2, 3), {}, range(-1, 1), range(-1, 2)),
        ("down", (2, 3), {"shift": True}, range(-2, 0), range(-1, 2)),
        ("down", (1, 3), {"shift": True}, range(-1, 0), range(-1, 2)),
        ("down", (2, 3), {"stride": 2}, range(-1, 1), range(-1, 2)),
        ("right", (2, 2), {}, range(-1, 1), range(-1, 1)),
        ("right", (2, 1), {"shift": True}, range(-1, 1), range(-1, 0)),
        ("right", (2, 2), {"stride": 2}, range(-1, 1), range(-1, 1)),
        ("right", (3, 2), {}, range(-2, 1), range(-1, 1)),
    ],
)
def test_a_pixel_sees_its_neighbours_before_it(direction, kernel, options, rows, columns):
    stride = options.get("stride", 1)
    found = seen(ShiftedConv(1, 1, direction, kernel, **options))
    assert found.shape == (HEIGHT // stride, WIDTH // stride, HEIGHT, WIDTH)
    for i in range(HEIGHT // stride):
        for j in range(WIDTH // stride):
            expected = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
            for row in (i * stride + step for step in rows):
                for column in (j * stride + step for step in columns):
                    if 0 <= row < HEIGHT and 0 <= column < WIDTH:
                        expected[row, column] = True
            assert found[i, j].equal(expected), (i, j)


@pytest.mark.parametrize(
    ("direction", "sources"),
    [("down", {0: (0,), 1: (0, 1), 4: (2,), 11: (5,)}), ("right", {0: (0,), 1: (0,), 4: (2,), 11: (5,)})],
)
def test_a_doubled_pixel_sees_what_it_comes_from(direction, sources):
    found = seen(ShiftedDeconv(1, 1, direction))
    assert found.shape == (2 * HEIGHT, 2 * WIDTH, HEIGHT, WIDTH)
    for row in range(2 * HEIGHT):
        for column, expected in sources.items():
            assert found[row, column].nonzero().tolist() == [[row // 2, source] for source in expected]


def test_what_a_shift_moves_in_is_zero_rather_than_the_bias():
    values = torch.randn(2, 3, 4, 6)
    down = ShiftedConv(3, 4, "down", (2, 3), shift=True)(values)
    right = ShiftedConv(3, 4, "right", (2, 1), shift=True)(values)
    assert not down[:, :, 0].any()
    assert not right[:, :, :, 0].any()
    assert down[:, :, 1:].all()
    assert right[:, :, :, 1:].all()


def norms(direction: Tensor, gain: Tensor) -> Tensor:
    return gain * direction / direction.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)


def redrawn(layer: nn.Module) -> dict[str, Tensor]:
    for value in layer.parameters():
        nn.init.normal_(value)
    return {name.rpartition(".")[2]: value for name, value in layer.named_parameters()}


def test_a_convolution_is_torchs_own_with_normalised_weights():
    layer, values = ShiftedConv(3, 4, "right", (2, 2), stride=2), torch.randn(2, 3, 4, 6)
    held = redrawn(layer)
    weight = norms(held["original1"], held["original0"])
    expected = F.conv2d(F.pad(values, (1, 0, 1, 0)), weight, held["bias"], stride=2)
    torch.testing.assert_close(layer(values), expected)


@pytest.mark.parametrize(
    ("direction", "width", "columns"), [("down", 3, slice(1, -1)), ("right", 2, slice(-1))]
)
def test_a_transposed_convolution_is_the_official_one_whose_norm_is_per_input(direction, width, columns):
    layer, values = ShiftedDeconv(3, 4, direction), torch.randn(2, 3, 4, 6)
    held = redrawn(layer)
    assert held["original0"].shape == (3, 1, 1, 1)
    assert held["original1"].shape == (3, 4, 2, width)
    weight = norms(held["original1"], held["original0"])
    padded = F.conv_transpose2d(values, weight, held["bias"], stride=2, output_padding=1)
    torch.testing.assert_close(layer(values), padded[:, :, :-1, columns])


def test_a_pointwise_map_is_the_same_linear_one_everywhere():
    layer, values = pointwise(3, 5), torch.randn(2, 3, 4, 6)
    held = redrawn(layer)
    weight = norms(held["original1"], held["original0"])[..., 0, 0]
    expected = F.linear(values.movedim(1, -1), weight, held["bias"]).movedim(-1, 1)
    torch.testing.assert_close(layer(values), expected)


def test_a_concatenated_elu_keeps_both_signs():
    values = torch.randn(2, 3, 4)
    found = concat_elu(values, -1)
    torch.testing.assert_close(found[..., :4], values.clamp(min=0) + values.clamp(max=0).expm1())
    torch.testing.assert_close(found[..., 4:], (-values).clamp(min=0) + (-values).clamp(max=0).expm1())


@pytest.mark.parametrize(("direction", "kernel"), [("down", (2, 2)), ("right", (0, 2))])
def test_a_kernel_without_a_middle_or_without_anything_is_refused(direction, kernel):
    with pytest.raises(OptionError, match=r"^kernel must be positive, with odd columns for 'down', got \("):
        ShiftedConv(1, 1, direction, kernel)
