from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.merge.product_of_experts import ProductOfExperts
from fuseloom.types import Trace

Array = NDArray[np.float64]


def redraw(merge: ProductOfExperts) -> ProductOfExperts:
    with torch.no_grad():
        for parameter in merge.parameters():
            parameter.normal_()
    return merge


def fuse(merge: ProductOfExperts, values: dict[str, Array]) -> tuple[Array, Array, dict[str, Array]]:
    """Mean, variance and precisions of one sample, from the modalities that are there."""
    state = {key: tensor.double().numpy() for key, tensor in merge.state_dict().items()}
    total, mean = np.full(merge.dim, float(merge.prior)), np.zeros(merge.dim)
    precisions = {}
    for name, value in values.items():
        belief = state[f"expert.{name}.weight"] @ value + state[f"expert.{name}.bias"]
        precisions[name] = 1 / np.exp(belief[merge.dim :])
        mean = mean + precisions[name] * belief[: merge.dim]
        total = total + precisions[name]
    total = total if total.all() else np.ones(merge.dim)
    return mean / total, 1 / total, {name: precision / total for name, precision in precisions.items()}


@pytest.mark.parametrize("prior", [True, False])
def test_experts_are_averaged_by_their_precision(case: Any, prior: bool) -> None:
    merge = redraw(ProductOfExperts(case.dims, 5, prior=prior))
    trace = Trace()
    fused = merge(case.streams, case.masks, trace=trace).detach().numpy()
    for sample in range(4):
        there = {n: case.pooled[n][sample] for n in case.dims if case.present[n][sample]}
        mean, variance, shares = fuse(merge, there)
        np.testing.assert_allclose(fused[sample], mean, rtol=1e-4, atol=1e-5)
        log_variance = trace.records["log_variance"][sample]
        np.testing.assert_allclose(log_variance, np.log(variance), rtol=1e-4, atol=1e-4)
        for column, name in enumerate(case.dims):
            gate = trace.records["gate"][sample, :, column]
            np.testing.assert_allclose(gate, shares.get(name, np.zeros(5)), rtol=1e-4, atol=1e-6)
    assert not fused[3].any()


def test_pixels_are_fused_one_by_one_where_nothing_pools(maps: dict[str, Tensor], pixels: Tensor) -> None:
    merge = redraw(ProductOfExperts({"rgb": 4, "depth": 3}, 5, pool=None))
    fused = merge(maps, {"rgb": pixels}).detach().numpy()
    for b, h, w in np.ndindex(2, 5, 6):
        there = ["rgb", "depth"] if pixels[b, h, w] else ["depth"]
        mean, _, _ = fuse(merge, {n: maps[n][b, :, h, w].double().numpy() for n in there})
        np.testing.assert_allclose(fused[b, :, h, w], mean, rtol=1e-4, atol=1e-5)


def test_an_expert_that_is_very_sure_decides_alone_in_half_precision() -> None:
    merge = ProductOfExperts({"text": 4, "audio": 3}, 5).half()
    with torch.no_grad():
        merge.expert["audio"].bias[5:] = -50
    streams = {"text": torch.randn(6, 4).half(), "audio": torch.randn(6, 3).half()}
    torch.testing.assert_close(merge(streams), merge.expert["audio"](streams["audio"])[:, :5])


@pytest.mark.parametrize("prior", [True, False])
@pytest.mark.parametrize("num", [1, 2, 6])
def test_the_fused_value_starts_at_size_one_with_all_experts_trusted_alike(num: int, prior: bool) -> None:
    dims = dict(list(zip("abcdef", [64, 7, 300, 64, 5, 90], strict=True))[:num])
    streams = {name: torch.randn(400, width) for name, width in dims.items()}
    trace = Trace()
    fused = ProductOfExperts(dims, dim=256, prior=prior)(streams, trace=trace)
    assert 0.9 < fused.std() < 1.1
    gate = trace.records["gate"]
    torch.testing.assert_close(gate, torch.full_like(gate, 1 / (num + prior)))


def test_its_output_is_the_prediction_itself() -> None:
    assert ProductOfExperts.card.level == "output"
