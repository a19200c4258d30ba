import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.metrics.interaction_orders import interaction_orders


def table(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 9))
def test_the_parts_add_up_and_are_orthogonal(shape, seed):
    whole = table((*shape, 2), seed)
    parts = interaction_orders(whole, len(shape))
    np.testing.assert_allclose(sum(parts), whole, atol=1e-12)
    products = [abs((one * other).mean()) for i, one in enumerate(parts) for other in parts[:i]]
    assert max(products, default=0.0) < 1e-12


def test_the_first_part_is_the_nearest_sum_of_functions_of_one_argument():
    """Least squares on an indicator of each value of each argument."""
    whole = table((4, 3, 5))
    places = np.indices(whole.shape).reshape(3, -1)
    design = np.concatenate([np.eye(size)[at] for size, at in zip(whole.shape, places, strict=True)], axis=1)
    fitted = design @ np.linalg.lstsq(design, whole.ravel(), rcond=None)[0]
    np.testing.assert_allclose(interaction_orders(whole, 3)[0].ravel(), fitted, atol=1e-12)


def test_a_function_of_pairs_has_no_part_of_three_and_a_triple_product_nothing_else():
    a, b, c = (vector - vector.mean() for vector in table((3, 6)))
    pairs = np.einsum("i,j->ij", a, b)[:, :, None] + np.einsum("j,k->jk", b, c)
    first, second, third = interaction_orders(pairs, 3)
    np.testing.assert_allclose(second, pairs, atol=1e-12)
    assert max(np.abs(first).max(), np.abs(third).max()) < 1e-12
    triple = np.einsum("i,j,k->ijk", a, b, c)
    *lower, highest = interaction_orders(triple, 3)
    np.testing.assert_allclose(highest, triple, atol=1e-12)
    assert max(np.abs(part).max() for part in lower) < 1e-12


@pytest.mark.parametrize("size", [1, 2])
def test_of_one_argument_all_is_the_first_part(size):
    whole = table((5, size))
    (only,) = interaction_orders(whole, 1)
    np.testing.assert_allclose(only, whole)
