import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseloom.metrics.information.binary import least_binary_information, upper_hull
from fuseloom.metrics.information.entropy import mutual_information
from fuseloom.metrics.information.solver import least_informative


def random_table(shape, seed, share=1.0):
    generator = np.random.default_rng(seed)
    table = generator.random(shape) ** 3 * (generator.random(shape) < share)
    table[0, 0] += 0.1
    return table / table.sum()


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 5)),
    st.integers(0, 10_000),
    st.sampled_from([0.2, 0.5, 1.0]),
)
def test_marginals_are_exact_and_the_gap_is_certified(shape, seed, share):
    table = random_table(shape, seed, share)
    found = least_informative(table.sum(1), table.sum(0))
    np.testing.assert_allclose(found.table.sum(1), table.sum(1), atol=1e-12)
    np.testing.assert_allclose(found.table.sum(0), table.sum(0), atol=1e-12)
    assert found.table.min() >= 0
    assert found.gap <= 1e-8
    least = mutual_information(found.table.reshape(-1, shape[2]))
    assert least <= mutual_information(table.reshape(-1, shape[2])) + 1e-8


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(1, 8), st.integers(1, 8)), st.integers(0, 10_000), st.sampled_from([0.3, 1.0]))
def test_the_closed_form_of_a_binary_target_is_that_of_the_solver(shape, seed, share):
    table = random_table((*shape, 2), seed, share)
    found = least_informative(table.sum(1), table.sum(0), tolerance=1e-11)
    closed = least_binary_information(table.sum(1), table.sum(0))
    assert mutual_information(found.table.reshape(-1, 2)) == pytest.approx(closed, abs=1e-8)


def test_independent_random_tables_cannot_tell_less():
    """The solution against many other joint distributions with the same marginals."""
    table = random_table((3, 3, 3), 5)
    found = least_informative(table.sum(1), table.sum(0))
    least = mutual_information(found.table.reshape(-1, 3))
    generator = np.random.default_rng(0)
    for _ in range(200):
        other = table.copy()
        for _ in range(20):
            (a, c), (b, d), y = (
                generator.choice(3, 2, False),
                generator.choice(3, 2, False),
                generator.integers(3),
            )
            step = generator.random() * min(other[a, b, y], other[c, d, y])
            other[a, b, y] -= step
            other[c, d, y] -= step
            other[a, d, y] += step
            other[c, b, y] += step
        np.testing.assert_allclose(other.sum(0), table.sum(0), atol=1e-12)
        assert mutual_information(other.reshape(-1, 3)) >= least - 1e-9


def test_rare_symbols_do_not_stop_it():
    table = random_table((4, 3, 3), 1)
    table[0] *= 1e-7
    table[:, 0, 2] *= 1e-6
    table /= table.sum()
    assert least_informative(table.sum(1), table.sum(0)).gap < 1e-8


@pytest.mark.slow
def test_a_large_table_is_solved():
    table = np.random.default_rng(0).dirichlet(np.ones(16_000)).reshape(40, 40, 10)
    found = least_informative(table.sum(1), table.sum(0))
    assert found.gap <= 1e-9
    assert found.num_steps < 60


def test_the_hull_lies_over_all_points():
    points = np.random.default_rng(0).random((50, 2))
    corners = upper_hull(points)
    over = np.interp(points[:, 0], corners[:, 0], corners[:, 1])
    assert (over >= points[:, 1] - 1e-12).all()
    slopes = np.diff(corners[:, 1]) / np.diff(corners[:, 0])
    assert (np.diff(slopes) < 0).all()
