from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.merge.sum import Sum


def embed(merge: Sum, name: str, value: NDArray[np.float64]) -> NDArray[np.float64]:
    state = {key: tensor.double().numpy() for key, tensor in merge.embed[name].state_dict().items()}
    return np.asarray(value @ state["weight"].T + state["bias"])


def test_it_sums_the_embeddings_of_what_is_present(case: Any) -> None:
    merge = Sum(case.dims, dim=5)
    expected = np.zeros((4, 5))
    for name in case.dims:
        expected += embed(merge, name, case.pooled[name]) * case.present[name][:, None]
    fused = merge(case.streams, case.masks).detach().numpy()
    np.testing.assert_allclose(fused, expected, rtol=1e-4, atol=1e-5)
    assert not fused[3].any()


def test_without_masks_every_bias_counts() -> None:
    merge = Sum({"text": 4, "audio": 3}, dim=5)
    zeros = {"text": torch.zeros(2, 4), "audio": torch.zeros(2, 3)}
    both = sum(merge.embed[name].bias.detach() for name in merge.dims)
    torch.testing.assert_close(merge(zeros), both.expand(2, 5))


def test_pixels_are_summed_one_by_one_where_nothing_pools(maps: dict[str, Tensor], pixels: Tensor) -> None:
    merge = Sum({"rgb": 4, "depth": 3}, dim=5, pool=None)
    fused = merge(maps, {"rgb": pixels}).detach().numpy()
    expected = np.zeros((2, 5, 5, 6))
    for b, h, w in np.ndindex(2, 5, 6):
        expected[b, :, h, w] = embed(merge, "depth", maps["depth"][b, :, h, w].double().numpy())
        if pixels[b, h, w]:
            expected[b, :, h, w] += embed(merge, "rgb", maps["rgb"][b, :, h, w].double().numpy())
    np.testing.assert_allclose(fused, expected, rtol=1e-4, atol=1e-5)


def test_an_absent_modality_gets_no_gradient(case: Any) -> None:
    merge = Sum(case.dims, dim=5)
    nobody = {"audio": torch.zeros(4, dtype=torch.bool)}
    merge({**case.streams, "text": torch.randn(4, 3, 4)}, nobody).sum().backward()
    assert merge.embed["audio"].bias.grad.abs().sum() == 0
    assert merge.embed["text"].bias.grad.equal(torch.full((5,), 4.0))
