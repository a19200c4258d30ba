from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.errors import ModalityError, OptionError
from fuseloom.merge.low_rank import LowRank, convert_low_rank


def redraw(merge: LowRank) -> LowRank:
    with torch.no_grad():
        for parameter in merge.parameters():
            parameter.normal_()
    return merge


def outer_product_form(merge: LowRank, values: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """The full weight tensor of the factorisation, contracted with the outer product of ``[x; 1]``."""
    state = {name: value.double().numpy() for name, value in merge.state_dict().items()}
    letters = "ijkl"[: len(values)]
    factors = [state[f"factor.{name}"] for name in values]  # [D + 1, R, dim]
    weight = np.einsum(f"{','.join(f'{i}rd' for i in letters)},r->{letters}d", *factors, state["rank_weight"])
    out = []
    for sample in range(len(next(iter(values.values())))):
        tensor = np.ones(())
        for value in values.values():
            tensor = np.multiply.outer(tensor, np.append(value[sample], 1.0))
        out.append(np.tensordot(tensor, weight, axes=len(values)) + state["bias"])
    return np.stack(out)


@pytest.mark.parametrize("num", [2, 3, 4])
@pytest.mark.parametrize("rank", [1, 3])
def test_it_is_the_contraction_of_the_explicit_outer_product(num: int, rank: int) -> None:
    dims = dict(list({"text": 4, "audio": 3, "video": 2, "table": 5}.items())[:num])
    merge = redraw(LowRank(dims, dim=6, rank=rank))
    streams = {name: torch.randn(7, width) for name, width in dims.items()}
    expected = outer_product_form(merge, {name: value.double().numpy() for name, value in streams.items()})
    np.testing.assert_allclose(merge(streams).detach(), expected, rtol=1e-4, atol=1e-4)


def test_an_absent_modality_contributes_zeros_and_a_one(case: Any) -> None:
    merge = redraw(LowRank(case.dims, dim=6, rank=3))
    expected = outer_product_form(merge, dict(case.pooled))
    np.testing.assert_allclose(merge(case.streams, case.masks).detach(), expected, rtol=1e-4, atol=1e-4)


def test_pixels_are_fused_one_by_one_where_nothing_pools(maps: dict[str, Tensor], pixels: Tensor) -> None:
    merge = redraw(LowRank({"rgb": 4, "depth": 3}, dim=6, rank=2, pool=None))
    kept = {"rgb": maps["rgb"] * pixels[:, None], "depth": maps["depth"]}
    rows = {name: value.permute(0, 2, 3, 1).flatten(0, 2).double().numpy() for name, value in kept.items()}
    expected = outer_product_form(merge, rows).reshape(2, 5, 6, 6).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(merge(maps, {"rgb": pixels}).detach(), expected, rtol=1e-4, atol=1e-4)


def test_factors_are_saved_and_trained() -> None:
    merge = LowRank({"text": 4, "audio": 3}, dim=6, rank=2)
    before = {name: value.clone() for name, value in merge.state_dict().items()}
    assert set(before) == {"factor.text", "factor.audio", "rank_weight", "bias"}
    optimiser = torch.optim.SGD(merge.parameters(), lr=0.1)
    merge({"text": torch.randn(5, 4), "audio": torch.randn(5, 3)}).square().sum().backward()
    optimiser.step()
    for name, value in merge.state_dict().items():
        assert not value.equal(before[name]), name
        assert not (value == before[name]).all(-1).any(), name


def test_the_product_starts_near_one_for_standardised_inputs() -> None:
    dims = dict.fromkeys("abcdef", 64)
    merge = LowRank(dims, dim=32, rank=8)
    with torch.no_grad():
        merge.rank_weight.copy_(torch.eye(8)[0])
    sizes = merge({name: torch.randn(200, 64) for name in dims}).detach().abs().log()
    assert abs(sizes.median()) < 0.5
    assert 0.5 < sizes.quantile(0.75) - sizes.quantile(0.25) < 2.0


def test_official_weights_convert() -> None:
    sizes = {"text": 4, "audio": 3, "video": 2}
    factors = {name: torch.randn(3, width + 1, 6) for name, width in sizes.items()}
    weights, bias = torch.randn(1, 3), torch.randn(1, 6)
    streams = {name: torch.randn(5, width) for name, width in sizes.items()}
    # The official formula: a constant first, factors [R, D + 1, dim], their product, one weight per rank.
    product = torch.ones(3, 5, 6)
    for name, value in streams.items():
        product = product * torch.matmul(torch.cat([torch.ones(5, 1), value], 1), factors[name])
    expected = torch.matmul(weights, product.permute(1, 0, 2)).squeeze(1) + bias
    merge = LowRank(sizes, dim=6, rank=3)
    merge.load_state_dict(convert_low_rank(factors, weights, bias))
    torch.testing.assert_close(merge(streams), expected, rtol=1e-4, atol=1e-4)


def test_one_modality_is_refused() -> None:
    with pytest.raises(
        ModalityError, match=r"^LowRank must have at least 2 modalities, got 1: \['text'\]\.$"
    ):
        LowRank({"text": 4})


def test_a_rank_below_one_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^rank must be at least 1, got 0\.$"):
        LowRank({"text": 4, "audio": 3}, rank=0)
