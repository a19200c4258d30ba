from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.errors import ModalityError, OptionError
from fuseloom.merge.tensor import TensorProduct, convert_tensor

SIZES = {"text": 4, "audio": 3, "video": 2, "table": 5}


def outer_product_form(merge: TensorProduct, values: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Every sample's outer product of ``[x; 1]``, written out and contracted with the whole weight."""
    letters = "ijkl"[: len(values)]
    weight = merge.weight.detach().double().numpy()  # [D + 1, dim, P]
    weight = weight.reshape(*weight.shape[:2], *(value.shape[1] + 1 for value in list(values.values())[1:]))
    with_ones = [np.pad(value, ((0, 0), (0, 1)), constant_values=1.0) for value in values.values()]
    product = np.einsum(f"{','.join(f'b{i}' for i in letters)}->b{letters}", *with_ones)
    return np.einsum(f"b{letters},{letters[0]}d{letters[1:]}->bd", product, weight)


def some(num: int, batch: int = 7) -> tuple[dict[str, int], dict[str, Tensor]]:
    dims = dict(list(SIZES.items())[:num])
    return dims, {name: torch.randn(batch, width) for name, width in dims.items()}


def doubles(streams: dict[str, Tensor]) -> dict[str, NDArray[np.float64]]:
    return {name: value.double().numpy() for name, value in streams.items()}


@pytest.mark.parametrize("num", [2, 3, 4])
@pytest.mark.parametrize("chunk", [None, 1, 3, 99])
def test_it_is_the_contraction_of_the_explicit_outer_product(num: int, chunk: int | None) -> None:
    dims, streams = some(num)
    merge = TensorProduct(dims, dim=6, chunk=chunk)
    expected = outer_product_form(merge, doubles(streams))
    np.testing.assert_allclose(merge(streams).detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunk", [None, 2])
def test_an_absent_modality_contributes_zeros_and_a_one(case: Any, chunk: int | None) -> None:
    merge = TensorProduct(case.dims, dim=6, chunk=chunk)
    fused = merge(case.streams, case.masks).detach()
    np.testing.assert_allclose(fused, outer_product_form(merge, dict(case.pooled)), rtol=1e-4, atol=1e-5)
    assert fused[3].equal(merge.weight[-1, :, -1])


def test_pixels_are_fused_one_by_one_where_nothing_pools(maps: dict[str, Tensor], pixels: Tensor) -> None:
    merge = TensorProduct({"rgb": 4, "depth": 3}, dim=6, pool=None)
    kept = {"rgb": maps["rgb"] * pixels[:, None], "depth": maps["depth"]}
    rows = {name: value.permute(0, 2, 3, 1).flatten(0, 2).double().numpy() for name, value in kept.items()}
    expected = outer_product_form(merge, rows).reshape(2, 5, 6, 6).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(merge(maps, {"rgb": pixels}).detach(), expected, rtol=1e-4, atol=1e-5)


def test_chunks_change_no_gradient() -> None:
    dims, streams = some(3)
    whole, chunked = TensorProduct(dims, dim=6), TensorProduct(dims, dim=6, chunk=2)
    chunked.load_state_dict(whole.state_dict())
    found = [
        torch.autograd.grad(merge(values).square().sum(), [*values.values(), *merge.parameters()])
        for merge in (whole, chunked)
        for values in [{name: value.clone().requires_grad_() for name, value in streams.items()}]
    ]
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize(("chunk", "most"), [(None, 18), (4, 2)])
def test_a_chunk_keeps_memory_flat_in_the_width_of_the_first_modality(chunk: int | None, most: int) -> None:
    few, many = (kept({"text": width, "audio": 8, "video": 8}, chunk) for width in (16, 64))
    per_feature = (many - few) / (64 - 16)
    assert most - 2 <= per_feature <= most  # dim partial sums of each; two for the feature itself


def kept(dims: dict[str, int], chunk: int | None) -> float:
    """Values per row that forward keeps for the backward, parameters aside."""
    merge = TensorProduct(dims, dim=16, chunk=chunk)
    streams = {name: torch.randn(32, width, requires_grad=True) for name, width in dims.items()}
    known = {parameter.untyped_storage().data_ptr() for parameter in merge.parameters()}
    found: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = merge(streams)
    assert out.requires_grad
    return sum(t.untyped_storage().nbytes() / 4 / 32 for where, t in found.items() if where not in known)


@pytest.mark.parametrize("num", [2, 6])
def test_it_starts_at_unit_order_and_every_modality_matters_alike(num: int) -> None:
    dims = dict.fromkeys("abcdef"[:num], 5)
    merge = TensorProduct(dims, dim=400)
    streams = {name: torch.randn(300, 5) for name in dims}
    assert 0.8 < merge(streams).std() < 1.25
    absent = {"a": torch.zeros(300, dtype=torch.bool)}
    assert 0.5 < merge(streams, absent).std() < 0.9  # half of the variance remains


def test_official_weights_convert() -> None:
    dims, streams = some(3)
    weight, bias = torch.randn(6, 5 * 4 * 3), torch.randn(6)
    # The official formula: a constant first, the last modality fastest.
    text, audio, video = (torch.cat([torch.ones(7, 1), value], 1) for value in streams.values())
    product = torch.einsum("bi,bj,bk->bijk", text, audio, video).flatten(1)
    before = weight.clone()
    merge = TensorProduct(dims, dim=6)
    merge.load_state_dict(convert_tensor(weight, bias, dims))
    torch.testing.assert_close(merge(streams), product @ weight.T + bias, rtol=1e-4, atol=1e-5)
    assert weight.equal(before)


@pytest.mark.parametrize("shape", [(6, 19), (20,)])
def test_a_weight_of_other_columns_does_not_convert(shape: tuple[int, ...]) -> None:
    with pytest.raises(OptionError, match=r"^weight must have shape \[dim, 20\], the product of dims with a"):
        convert_tensor(torch.ones(shape), torch.ones(6), {"text": 4, "audio": 3})


def test_a_product_beyond_the_limit_is_refused_before_it_is_made() -> None:
    with pytest.raises(
        OptionError,
        match=r"^limit must be at least 281,681,185,476,608 for a product of 4097 x 4097 x 4097 = "
        r"68,769,820,673 values and dim 4096, got 268,435,456\. Make the modalities narrower, or use "
        r"'low_rank'\.$",
    ):
        TensorProduct(dict.fromkeys("abc", 4096))


def test_rows_beyond_the_limit_are_refused_before_they_are_fused() -> None:
    merge = TensorProduct({"text": 9, "audio": 4}, dim=6, limit=1000)
    with pytest.raises(
        OptionError,
        match=r"^limit must be at least 1,040 to fuse 16 rows whose product has 50 values each, got 1,000\. "
        r"Pass fewer rows at a time, or a smaller chunk\.$",
    ):
        merge({"text": torch.ones(16, 9), "audio": torch.ones(16, 4)})
    assert merge({"text": torch.ones(15, 9), "audio": torch.ones(15, 4)}).shape == (15, 6)


def test_a_chunk_admits_more_rows() -> None:
    merge = TensorProduct({"text": 9, "audio": 4}, dim=6, limit=1000, chunk=2)
    assert merge({"text": torch.ones(58, 9), "audio": torch.ones(58, 4)}).shape == (58, 6)


def test_one_modality_is_refused() -> None:
    with pytest.raises(
        ModalityError, match=r"^TensorProduct must have at least 2 modalities, got 1: \['text'\]\.$"
    ):
        TensorProduct({"text": 4})


def test_a_chunk_below_one_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^chunk must be at least 1 or None, got 0\.$"):
        TensorProduct({"text": 4, "audio": 3}, chunk=0)
