from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.merge.mean import Mean


def redraw(merge: Mean) -> Mean:
    with torch.no_grad():
        for parameter in merge.parameters():
            parameter.normal_()
    return merge


def embed(merge: Mean, name: str, value: NDArray[np.float64]) -> NDArray[np.float64]:
    state = {key: tensor.double().numpy() for key, tensor in merge.embed[name].state_dict().items()}
    return np.asarray(value @ state["weight"].T + state["bias"])


def test_only_what_is_present_counts(case: Any) -> None:
    merge = redraw(Mean(case.dims, dim=5))
    expected = np.zeros((4, 5))
    for sample in range(4):
        there = [name for name in case.dims if case.present[name][sample]]
        embedded = [embed(merge, name, case.pooled[name][sample]) for name in there]
        expected[sample] = np.mean(embedded, axis=0) if there else 0.0
    fused = merge(case.streams, case.masks).detach().numpy()
    np.testing.assert_allclose(fused, expected, rtol=1e-4, atol=1e-5)
    assert not fused[3].any()


def test_without_masks_it_is_the_mean_of_all() -> None:
    merge = redraw(Mean({"text": 4, "audio": 3, "video": 2}, dim=5))
    streams = {name: torch.randn(6, width) for name, width in merge.dims.items()}
    embedded = [embed(merge, name, value.double().numpy()) for name, value in streams.items()]
    np.testing.assert_allclose(merge(streams).detach(), np.mean(embedded, axis=0), rtol=1e-4, atol=1e-5)


def test_pixels_are_averaged_one_by_one_where_nothing_pools(maps: dict[str, Tensor], pixels: Tensor) -> None:
    merge = redraw(Mean({"rgb": 4, "depth": 3}, dim=5, pool=None))
    expected = np.zeros((2, 5, 5, 6))
    for b, h, w in np.ndindex(2, 5, 6):
        there = ["rgb", "depth"] if pixels[b, h, w] else ["depth"]
        values = [embed(merge, name, maps[name][b, :, h, w].double().numpy()) for name in there]
        expected[b, :, h, w] = np.mean(values, axis=0)
    fused = merge(maps, {"rgb": pixels}).detach().numpy()
    np.testing.assert_allclose(fused, expected, rtol=1e-4, atol=1e-5)


def test_an_absent_modality_gets_no_gradient_and_halves_none() -> None:
    merge = Mean({"text": 4, "audio": 3}, dim=5)
    streams = {"text": torch.randn(4, 4), "audio": torch.randn(4, 3)}
    merge(streams, {"audio": torch.zeros(4, dtype=torch.bool)}).sum().backward()
    assert not merge.embed["audio"].bias.grad.any()
    assert not merge.embed["audio"].weight.grad.any()
    assert merge.embed["text"].bias.grad.equal(torch.full((5,), 4.0))


@pytest.mark.parametrize("num", [2, 6])
def test_the_fused_value_starts_at_size_one(num: int) -> None:
    dims = dict(list(zip("abcdef", [64, 7, 300, 64, 5, 90], strict=True))[:num])
    fused = Mean(dims, dim=256)({name: torch.randn(400, width) for name, width in dims.items()})
    assert 0.85 < fused.std() < 1.15
