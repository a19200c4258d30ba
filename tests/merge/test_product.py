from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.errors import OptionError
from fuseloom.merge.product import Product, convert_product


def redraw(merge: Product) -> Product:
    with torch.no_grad():
        for parameter in merge.parameters():
            parameter.normal_()
    return merge


def fuse(merge: Product, values: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """One sample of the modalities that are there, by the formula."""
    state = {key: tensor.double().numpy() for key, tensor in merge.state_dict().items()}
    product = np.ones(state["out.weight"].shape[1])
    for name, value in values.items():
        product = product * (state[f"embed.{name}.weight"] @ value + state[f"embed.{name}.bias"])
    return np.asarray(state["out.weight"] @ product + state["out.bias"])


def test_an_absent_modality_is_a_factor_of_one(case: Any) -> None:
    merge = redraw(Product(case.dims, dim=5, factor_dim=7))
    expected = np.stack(
        [fuse(merge, {n: case.pooled[n][b] for n in case.dims if case.present[n][b]}) for b in range(4)]
    )
    fused = merge(case.streams, case.masks).detach()
    np.testing.assert_allclose(fused, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fused[3], (merge.out.weight.sum(1) + merge.out.bias).detach())


@pytest.mark.parametrize("num", [1, 2, 3, 4])
def test_without_masks_all_are_multiplied(num: int) -> None:
    dims = dict(list({"text": 4, "audio": 3, "video": 2, "table": 5}.items())[:num])
    merge = redraw(Product(dims, dim=6))
    streams = {name: torch.randn(7, width) for name, width in dims.items()}
    rows = [{name: value[b].double().numpy() for name, value in streams.items()} for b in range(7)]
    expected = np.stack([fuse(merge, row) for row in rows])
    np.testing.assert_allclose(merge(streams).detach(), expected, rtol=1e-4, atol=1e-4)


def test_pixels_are_multiplied_one_by_one_where_nothing_pools(
    maps: dict[str, Tensor], pixels: Tensor
) -> None:
    merge = redraw(Product({"rgb": 4, "depth": 3}, dim=5, pool=None))
    expected = np.zeros((2, 5, 5, 6))
    for b, h, w in np.ndindex(2, 5, 6):
        there = ["rgb", "depth"] if pixels[b, h, w] else ["depth"]
        expected[b, :, h, w] = fuse(merge, {n: maps[n][b, :, h, w].double().numpy() for n in there})
    fused = merge(maps, {"rgb": pixels}).detach().numpy()
    np.testing.assert_allclose(fused, expected, rtol=1e-4, atol=1e-4)


def test_an_absent_modality_gets_no_gradient() -> None:
    merge = Product({"text": 4, "audio": 3}, dim=5)
    streams = {"text": torch.randn(4, 4), "audio": torch.randn(4, 3)}
    merge(streams, {"audio": torch.zeros(4, dtype=torch.bool)}).sum().backward()
    assert not merge.embed["audio"].bias.grad.any()
    assert merge.embed["text"].bias.grad.any()


def test_official_weights_convert() -> None:
    weight, bias = torch.randn(4, 5), torch.randn(4)
    dims = {"text": 5, "audio": 5, "video": 5}
    streams = {name: torch.randn(3, 5) for name in dims}
    merge = Product(dims, dim=4, factor_dim=5)
    merge.load_state_dict(convert_product(weight, bias, dims))
    # The official formula: one linear map of the product of the inputs themselves.
    expected = (streams["text"] * streams["audio"] * streams["video"]) @ weight.T + bias
    torch.testing.assert_close(merge(streams), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num", [2, 6])
def test_the_fused_value_starts_at_size_one(num: int) -> None:
    dims = dict(list(zip("abcdef", [64, 7, 300, 64, 5, 90], strict=True))[:num])
    fused = Product(dims, dim=256)({name: torch.randn(400, width) for name, width in dims.items()})
    assert 0.8 < fused.square().mean().sqrt() < 1.25
    # Most of it varies from sample to sample.
    assert 0.6 < fused.std(0).mean() < 1.1


@pytest.mark.parametrize("shape", [(4, 5), (5,)])
def test_official_weights_of_another_width_are_refused(shape: tuple[int, ...]) -> None:
    message = (
        r"^weight must have shape \[dim, D\] with D the width of every modality in "
        r"\{'text': 5, 'audio': 3\}, got \[.*\]\.$"
    )
    with pytest.raises(OptionError, match=message):
        convert_product(torch.ones(shape), torch.ones(4), {"text": 5, "audio": 3})


def test_a_product_without_features_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^factor_dim must be at least 1, got 0\.$"):
        Product({"text": 4, "audio": 3}, factor_dim=0)
