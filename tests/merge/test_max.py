from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.merge.max import Max


def redraw(merge: Max) -> Max:
    with torch.no_grad():
        for parameter in merge.parameters():
            parameter.normal_()
    return merge


def embed(merge: Max, name: str, value: NDArray[np.float64]) -> NDArray[np.float64]:
    state = {key: tensor.double().numpy() for key, tensor in merge.embed[name].state_dict().items()}
    return np.asarray(value @ state["weight"].T + state["bias"])


def test_only_what_is_present_competes(case: Any) -> None:
    merge = redraw(Max(case.dims, dim=5))
    expected = np.zeros((4, 5))
    for sample in range(4):
        there = [name for name in case.dims if case.present[name][sample]]
        embedded = [embed(merge, name, case.pooled[name][sample]) for name in there]
        expected[sample] = np.max(embedded, axis=0) if there else 0.0
    fused = merge(case.streams, case.masks).detach().numpy()
    np.testing.assert_allclose(fused, expected, rtol=1e-4, atol=1e-5)
    assert not fused[3].any()


def test_an_absent_modality_does_not_put_a_floor_at_zero() -> None:
    merge = Max({"text": 4, "audio": 3}, dim=5)
    with torch.no_grad():
        merge.embed["text"].bias.fill_(-100.0)
    streams = {"text": torch.zeros(1, 4), "audio": torch.zeros(1, 3)}
    assert merge(streams, {"audio": torch.tensor([False])}).equal(torch.full((1, 5), -100.0))


def test_without_masks_all_compete() -> None:
    merge = redraw(Max({"text": 4, "audio": 3, "video": 2}, dim=5))
    streams = {name: torch.randn(6, width) for name, width in merge.dims.items()}
    embedded = [embed(merge, name, value.double().numpy()) for name, value in streams.items()]
    np.testing.assert_allclose(merge(streams).detach(), np.max(embedded, axis=0), rtol=1e-4, atol=1e-5)


def test_pixels_compete_one_by_one_where_nothing_pools(maps: dict[str, Tensor], pixels: Tensor) -> None:
    merge = redraw(Max({"rgb": 4, "depth": 3}, dim=5, pool=None))
    expected = np.zeros((2, 5, 5, 6))
    for b, h, w in np.ndindex(2, 5, 6):
        there = ["rgb", "depth"] if pixels[b, h, w] else ["depth"]
        values = [embed(merge, name, maps[name][b, :, h, w].double().numpy()) for name in there]
        expected[b, :, h, w] = np.max(values, axis=0)
    fused = merge(maps, {"rgb": pixels}).detach().numpy()
    np.testing.assert_allclose(fused, expected, rtol=1e-4, atol=1e-5)


def test_only_the_winner_of_a_feature_learns() -> None:
    merge = Max({"text": 4, "audio": 3}, dim=5)
    with torch.no_grad():
        merge.embed["text"].bias.copy_(torch.tensor([9.0, -9.0, 9.0, -9.0, 9.0]))
    merge({"text": torch.zeros(2, 4), "audio": torch.zeros(2, 3)}).sum().backward()
    assert merge.embed["text"].bias.grad.tolist() == [2.0, 0.0, 2.0, 0.0, 2.0]
    assert merge.embed["audio"].bias.grad.tolist() == [0.0, 2.0, 0.0, 2.0, 0.0]


@pytest.mark.parametrize("num", [2, 6])
def test_the_fused_value_starts_at_size_one(num: int) -> None:
    dims = dict(list(zip("abcdef", [64, 7, 300, 64, 5, 90], strict=True))[:num])
    fused = Max(dims, dim=256)({name: torch.randn(400, width) for name, width in dims.items()})
    assert 0.6 < fused.square().mean().sqrt() < 1.6
