import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.nn import below_quantile, masked_quantile, nearest_fraction

THETAS = st.one_of(
    st.sampled_from([0.0, 0.1, 0.3, 0.4, 0.55, 0.7, 1 / 3, 2 / 3, 1.0]),
    st.integers(0, 1000).map(lambda thousandths: thousandths / 1000),
)


def distinct(rows: int, count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    order = torch.stack([torch.randperm(count, generator=generator) for _ in range(rows)])
    return order.float() / 7 - 3


@given(theta=THETAS, count=st.integers(1, 40), seed=st.integers(0, 99))
def test_of_distinct_values_the_lowest_are_below_as_many_as_the_formula_says(
    theta: float, count: int, seed: int
) -> None:
    values, q = distinct(3, count, seed), nearest_fraction(theta)
    below = below_quantile(values, q)
    wanted = math.ceil(q * (count - 1))
    assert below.sum(1).tolist() == [wanted] * 3
    assert below.equal(values < values.sort(1).values[:, wanted : wanted + 1])


@given(theta=THETAS, count=st.integers(1, 20), seed=st.integers(0, 99))
def test_what_is_masked_does_not_count(theta: float, count: int, seed: int) -> None:
    q, generator = nearest_fraction(theta), torch.Generator().manual_seed(seed)
    values = torch.randn(4, count, generator=generator).mul(3).round()  # with ties
    mask = torch.rand(4, count, generator=generator) < 0.6
    noisy = values.masked_fill(~mask, float("nan"))
    below, bounds = below_quantile(noisy, q, mask), masked_quantile(noisy, q, mask)
    assert not (below & ~mask).any()
    for row, kept in enumerate(mask):
        alone = values[row][kept]
        assert below[row][kept].equal(below_quantile(alone, q))
        torch.testing.assert_close(bounds[row], masked_quantile(alone, q))


@given(theta=THETAS, count=st.integers(1, 30), seed=st.integers(0, 99))
def test_the_quantile_is_that_of_numpy_in_float64(theta: float, count: int, seed: int) -> None:
    values = torch.randn(3, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = masked_quantile(values, nearest_fraction(theta))
    np.testing.assert_allclose(found.numpy(), np.quantile(values.numpy(), theta, axis=1), atol=1e-9)


def test_at_a_whole_rank_the_quantile_is_a_value_and_that_value_is_not_below_it() -> None:
    # torch.quantile in float32 takes one too many in some of these rows.
    values, q = torch.randn(200, 11), nearest_fraction(0.3)
    bound = masked_quantile(values, q)
    assert bound.equal(values.sort(1).values[:, 3])
    assert below_quantile(values, q).equal(values < bound[:, None])


def test_values_that_tie_with_the_quantile_are_not_below_it() -> None:
    values = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 2.0, 2.0, 3.0]])
    below = below_quantile(values, Fraction(1, 2))
    assert below.tolist() == [[False] * 4, [True, False, False, False]]


@pytest.mark.parametrize("mask", [None, torch.zeros(2, 0, dtype=torch.bool)])
def test_of_nothing_nothing_is_below_and_the_quantile_is_zero(mask: torch.Tensor | None) -> None:
    nothing = torch.zeros(2, 0)
    assert below_quantile(nothing, Fraction(1, 2), mask).shape == (2, 0)
    assert masked_quantile(nothing, Fraction(1, 2), mask).tolist() == [0, 0]


def test_decimals_are_the_fractions_they_stand_for() -> None:
    assert [nearest_fraction(x) for x in (0.1, 1 / 3, 0.07)] == [
        Fraction(1, 10),
        Fraction(1, 3),
        Fraction(7, 100),
    ]
