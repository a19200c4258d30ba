import math
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.errors import OptionError
from fuseloom.merge.polynomial import Polynomial

Array = NDArray[np.float64]
DIMS = {"text": 4, "audio": 3, "video": 2}


def monomials(values: Array, degree: int, gamma: float, constant: float) -> Array:
    """Each product of ``degree`` of the scaled features and the constant, in ascending order, by loops."""
    found = []
    for row in np.sqrt(gamma) * values:
        factors = [*row, math.sqrt(constant)] if constant else list(row)
        one = []
        for chosen in combinations_with_replacement(range(len(factors)), degree):
            orders = math.factorial(degree)
            for index in set(chosen):
                orders //= math.factorial(chosen.count(index))
            one.append(math.sqrt(orders) * math.prod(factors[index] for index in chosen))
        found.append(one)
    return np.array(found)


def oracle(merge: Polynomial, values: dict[str, Array], degree: int, *, constant: float = 1.0) -> Array:
    state = {name: value.double().numpy() for name, value in merge.state_dict().items()}
    embedded = [
        value @ state[key].T if (key := f"embed.{name}.weight") in state else value
        for name, value in values.items()
    ]
    features = np.concatenate(embedded, 1)
    return monomials(features, degree, 1 / features.shape[1], constant) @ state["weight"].T


def some(batch: int = 7) -> dict[str, Tensor]:
    return {name: torch.randn(batch, width) for name, width in DIMS.items()}


@pytest.mark.parametrize("constant", [0.0, 1.0, 0.5])
@pytest.mark.parametrize("degree", [2, 3])
@pytest.mark.parametrize("width", [None, 3, 1])
def test_it_is_the_linear_map_of_all_monomials(width: int | None, degree: int, constant: float) -> None:
    merge, streams = Polynomial(DIMS, 6, width=width, degree=degree, constant=constant), some()
    values = {name: value.double().numpy() for name, value in streams.items()}
    expected = oracle(merge, values, degree, constant=constant)
    np.testing.assert_allclose(merge(streams).detach(), expected, rtol=1e-4, atol=1e-5)


def test_only_what_is_wider_is_mapped_to_fewer_features() -> None:
    shapes = {name: tuple(value.shape) for name, value in Polynomial(DIMS, 6, width=3).state_dict().items()}
    assert shapes == {"embed.text.weight": (3, 4), "weight": (6, math.comb(3 + 3 + 2 + 2, 2))}


def test_without_a_map_it_is_the_polynomial_kernel_of_the_concatenation() -> None:
    merge = Polynomial(DIMS, math.comb(9 + 3, 3), width=None, degree=3, constant=2.0).double()
    merge.load_state_dict({"weight": torch.eye(merge.dim)})
    left, right = ({name: value.double() for name, value in some().items()} for _ in range(2))
    inner = torch.cat(list(left.values()), 1) @ torch.cat(list(right.values()), 1).T
    torch.testing.assert_close(merge(left) @ merge(right).T, (inner / 9 + 2) ** 3)


def test_without_an_absent_modality_the_monomials_of_the_others_remain(case: Any) -> None:
    merge = Polynomial(case.dims, 6, width=3)
    fused = merge(case.streams, case.masks).detach()
    np.testing.assert_allclose(fused, oracle(merge, dict(case.pooled), 2), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fused[3], merge.weight[:, -1].detach())  # the constant is all that is left


def test_pixels_are_fused_one_by_one_where_nothing_pools(maps: dict[str, Tensor], pixels: Tensor) -> None:
    merge = Polynomial({"rgb": 4, "depth": 3}, 6, width=3, pool=None)
    kept = {"rgb": maps["rgb"] * pixels[:, None], "depth": maps["depth"]}
    rows = {name: value.permute(0, 2, 3, 1).flatten(0, 2).double().numpy() for name, value in kept.items()}
    expected = oracle(merge, rows, 2).reshape(2, 5, 6, 6).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(merge(maps, {"rgb": pixels}).detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"degree": 3}, {"constant": 0.2}, {"width": None}])
@pytest.mark.parametrize("num", [2, 6])
def test_the_output_starts_with_unit_order_for_standardised_inputs(num: int, options: dict[str, Any]) -> None:
    dims = dict.fromkeys("abcdef"[:num], 16)
    streams = {name: torch.randn(300, 16) for name in dims}
    spread = torch.stack([Polynomial(dims, 40, **options)(streams).detach() for _ in range(20)]).std()
    assert 0.8 < spread < 1.25


def test_more_monomials_than_the_limit_are_refused_before_they_are_listed() -> None:
    with pytest.raises(
        OptionError,
        match=r"^limit must be at least 1,460,908,800 for 1,902,225 monomials of degree 2 of 1,949 features "
        r"and dim 768, got 268,435,456\. Pass a smaller width or degree\.$",
    ):
        Polynomial({"image": 768, "text": 768, "audio": 413}, width=None)
    with pytest.raises(
        OptionError, match="for 76,950,733,171,330,200 monomials of degree 6 of 1,949 features"
    ):
        Polynomial({"image": 768, "text": 768, "audio": 413}, 1, width=None, degree=6)


def test_rows_beyond_the_limit_are_refused_before_they_are_fused() -> None:
    merge = Polynomial(DIMS, 4, width=2, limit=300)  # 28 monomials
    with pytest.raises(
        OptionError,
        match=r"^limit must be at least 308 to fuse 11 rows of 28 monomials each, got 300\. Pass fewer rows "
        r"at a time, or a smaller width or degree\.$",
    ):
        merge(some(11))
    assert merge(some(10)).isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, r"^width must be at least 1 or None, got 0\.$"),
        ({"degree": 1}, r"^degree must be at least 2, got 1\. For degree 1 use 'concat'\.$"),
        ({"constant": -1.0}, r"^constant must not be negative, got -1\.0\.$"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Polynomial(DIMS, **options)
