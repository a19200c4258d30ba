from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.errors import ModalityError
from fuseloom.merge.bilinear import Bilinear, convert_bilinear

SIZES = {"text": 4, "audio": 3, "video": 2, "table": 5}


def redraw(merge: Bilinear) -> Bilinear:
    with torch.no_grad():
        for parameter in merge.parameters():
            parameter.normal_()
    return merge


def term_by_term(merge: Bilinear, values: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Every term of the formula, one after the other."""
    state = {name: value.double().numpy() for name, value in merge.state_dict().items()}
    out = np.broadcast_to(state["bias"], (len(next(iter(values.values()))), merge.dim)).copy()
    for name, value in values.items():
        out += value @ state[f"linear.{name}"]
    for a, b in combinations(values, 2):
        out += np.einsum("bi,ikj,bj->bk", values[a], state[f"pair.{a}_from_{b}"], values[b])
    return out


@pytest.mark.parametrize("num", [2, 3, 4])
def test_it_is_the_sum_of_all_pairs_and_linear_terms(num: int) -> None:
    dims = dict(list(SIZES.items())[:num])
    merge = redraw(Bilinear(dims, dim=6))
    streams = {name: torch.randn(7, width) for name, width in dims.items()}
    expected = term_by_term(merge, {name: value.double().numpy() for name, value in streams.items()})
    np.testing.assert_allclose(merge(streams).detach(), expected, rtol=1e-4, atol=1e-4)


def test_an_absent_modality_contributes_zeros(case: Any) -> None:
    merge = redraw(Bilinear(case.dims, dim=6))
    fused = merge(case.streams, case.masks).detach()
    np.testing.assert_allclose(fused, term_by_term(merge, dict(case.pooled)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fused[3], merge.bias.detach())


def test_the_pair_of_the_others_remains_where_one_is_absent() -> None:
    merge = redraw(Bilinear({"a": 2, "b": 3, "c": 4}, dim=6))
    streams = {name: torch.randn(5, width) for name, width in merge.dims.items()}
    expected = term_by_term(merge, {n: v.double().numpy() * (n != "b") for n, v in streams.items()})
    fused = merge(streams, {"b": torch.zeros(5, dtype=torch.bool)}).detach()
    np.testing.assert_allclose(fused, expected, rtol=1e-4, atol=1e-4)


def test_pixels_are_fused_one_by_one_where_nothing_pools(maps: dict[str, Tensor], pixels: Tensor) -> None:
    merge = redraw(Bilinear({"rgb": 4, "depth": 3}, dim=6, pool=None))
    kept = {"rgb": maps["rgb"] * pixels[:, None], "depth": maps["depth"]}
    rows = {name: value.permute(0, 2, 3, 1).flatten(0, 2).double().numpy() for name, value in kept.items()}
    expected = term_by_term(merge, rows).reshape(2, 5, 6, 6).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(merge(maps, {"rgb": pixels}).detach(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num", [2, 6])
def test_all_terms_start_with_equal_shares_of_a_unit_variance(num: int) -> None:
    dims = dict.fromkeys("abcdef"[:num], 16)
    merge = Bilinear(dims, dim=200)
    streams = {name: torch.randn(300, 16) for name in dims}
    assert 0.9 < merge(streams).std() < 1.1
    terms = num * (num + 1) // 2
    only = {name: torch.full((300,), name == "a") for name in dims}
    assert 0.8 < merge(streams, only).var() * terms < 1.2


def test_adding_a_modality_keeps_the_others_keys() -> None:
    few, many = Bilinear({"a": 2, "b": 3}, dim=4), Bilinear({"a": 2, "b": 3, "c": 5}, dim=4)
    missing, unexpected = many.load_state_dict(few.state_dict(), strict=False)
    assert (missing, unexpected) == (["linear.c", "pair.a_from_c", "pair.b_from_c"], [])


def test_official_weights_convert() -> None:
    pair, linear = torch.randn(4, 3, 6), {"text": torch.randn(4, 6), "audio": torch.randn(3, 6)}
    bias, x, z = torch.randn(6), torch.randn(5, 4), torch.randn(5, 3)
    merge = Bilinear({"text": 4, "audio": 3}, dim=6)
    merge.load_state_dict(convert_bilinear(pair, linear, bias))
    # The official formula: x^T W z + z V + x U + b.
    expected = torch.einsum("bn,bm,nmd->bd", x, z, pair) + z @ linear["audio"] + x @ linear["text"] + bias
    torch.testing.assert_close(merge({"text": x, "audio": z}), expected, rtol=1e-4, atol=1e-5)


def test_one_modality_is_refused() -> None:
    with pytest.raises(
        ModalityError, match=r"^Bilinear must have at least 2 modalities, got 1: \['text'\]\.$"
    ):
        Bilinear({"text": 4})
