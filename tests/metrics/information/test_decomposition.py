"""Closed forms, identities, and other solvers."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fuseloom.errors import DataError, OptionError
from fuseloom.metrics.information.decomposition import decompose, in_nats, synergy_bounds
from fuseloom.metrics.information.entropy import mutual_information

BITS = (0, 1)
MASSES = st.integers(0, 9)


def gate(rule, weights=None):
    """The table of two fair bits, or of given probabilities ``[2, 2]``, and a function of them."""
    weights = np.full((2, 2), 0.25) if weights is None else np.asarray(weights)
    labels = sorted({rule(a, b) for a, b in product(BITS, BITS)})
    table = np.zeros((2, 2, len(labels)))
    for a, b in product(BITS, BITS):
        table[a, b, labels.index(rule(a, b))] = weights[a, b]
    return table


def parts(table, **options):
    found = decompose(table, **options)
    return [found.redundant, *found.unique, found.synergistic]


def tables(most=4, classes=4):
    shapes = st.tuples(st.integers(1, most), st.integers(1, most), st.integers(1, classes))
    return shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=MASSES)).filter(np.any)


AND = 3 / 4 * np.log2(4 / 3)
CORRELATED = [[0.4, 0.1], [0.1, 0.4]]
SHARED = mutual_information(np.array(CORRELATED)) / np.log(2)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (gate(lambda a, b: a & b), [AND, 0, 0, 0.5]),
        (gate(lambda a, b: a | b), [AND, 0, 0, 0.5]),
        (gate(lambda a, b: a ^ b), [0, 0, 0, 1]),
        (gate(lambda a, b: a), [0, 1, 0, 0]),
        (gate(lambda a, b: b), [0, 0, 1, 0]),
        (gate(lambda a, b: a, [[0.5, 0], [0, 0.5]]), [1, 0, 0, 0]),
        (gate(lambda a, b: (a, b)), [0, 1, 1, 0]),
        (gate(lambda a, b: (a, b), CORRELATED), [SHARED, 1 - SHARED, 1 - SHARED, 0]),
        (gate(lambda a, b: a + b), [0.5, 0, 0, 1]),
    ],
    ids=["and", "or", "xor", "first", "second", "same", "copy", "copy of correlated", "sum"],
)
def test_closed_forms(table, expected):
    np.testing.assert_allclose(parts(table), expected, atol=1e-8)
    np.testing.assert_allclose(parts(table, unit="nats"), np.array(expected) * np.log(2), atol=1e-8)


@settings(max_examples=60, deadline=None)
@given(tables())
def test_parts_add_up_and_none_is_negative(table):
    found = decompose(table, unit="nats")
    one, other = mutual_information(table.sum(1)), mutual_information(table.sum(0))
    both = mutual_information(table.reshape(-1, table.shape[2]))
    assert min(found.redundant, *found.unique, found.synergistic) >= 0
    assert found.redundant + found.unique[0] == pytest.approx(one, abs=1e-9)
    assert found.redundant + found.unique[1] == pytest.approx(other, abs=1e-9)
    assert found.total == pytest.approx(both, abs=1e-9)
    assert found.gap <= 1e-7


@settings(max_examples=30, deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_sources_swap_their_parts_and_the_order_of_symbols_is_irrelevant(table, random):
    redundant, first, second, synergistic = parts(table)
    swapped = parts(table.transpose(1, 0, 2))
    np.testing.assert_allclose(swapped, [redundant, second, first, synergistic], atol=1e-7)
    for axis, size in enumerate(table.shape):
        table = table.take(random.sample(range(size), size), axis)
    np.testing.assert_allclose(parts(table), [redundant, first, second, synergistic], atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(tables(3, 3))
def test_a_source_that_knows_the_other_holds_all_it_tells(table):
    """With a copy of the second beside the first, nothing is unique to the second or synergistic."""
    wide = np.zeros((table.shape[0] * table.shape[1], *table.shape[1:]))
    for a, b in product(range(table.shape[0]), range(table.shape[1])):
        wide[a * table.shape[1] + b, b] = table[a, b]
    found = decompose(wide)
    assert max(found.unique[1], found.synergistic) == pytest.approx(0, abs=1e-7)


def test_symbols_and_classes_without_mass_do_not_count():
    table = np.random.default_rng(0).random((3, 2, 3))
    padded = np.zeros((5, 4, 5))
    padded[np.ix_([0, 2, 4], [1, 3], [0, 1, 4])] = table
    np.testing.assert_allclose(parts(padded), parts(table), atol=1e-9)


def test_counts_are_as_good_as_probabilities():
    counts = np.random.default_rng(1).integers(0, 50, (4, 3, 3))
    np.testing.assert_allclose(parts(counts), parts(counts / counts.sum()), atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(tables())
def test_bounds_hold_and_use_no_more_than_tables_of_two_variables(table):
    found, bounds = decompose(table), synergy_bounds(table)
    assert bounds.from_redundancy <= found.synergistic + 1e-7
    assert bounds.from_disagreement <= found.synergistic + 1e-7
    assert bounds.lower <= found.synergistic + 1e-7
    assert found.synergistic <= bounds.upper + 1e-7


def test_bounds_are_tight_where_they_can_be():
    exclusive_or = synergy_bounds(gate(lambda a, b: a ^ b), unit="nats")
    assert (exclusive_or.lower, exclusive_or.upper) == pytest.approx((0, np.log(2)), abs=1e-9)
    conjunction = synergy_bounds(gate(lambda a, b: a & b))
    assert conjunction.from_redundancy == pytest.approx(AND)
    assert conjunction.upper == pytest.approx(0.5)


def test_disagreement_alone_shows_synergy():
    """Each source is sure of another class at times, and both are never of the same opinion for nothing."""
    table = np.zeros((2, 2, 2))
    table[0, 1], table[1, 0], table[0, 0, 0], table[1, 1, 1] = [0.2, 0.05], [0.2, 0.05], 0.25, 0.25
    bounds = synergy_bounds(table)
    assert 0 < bounds.from_disagreement <= decompose(table).synergistic


@pytest.mark.parametrize("shape", [(3, 4, 2), (4, 4, 3), (6, 5, 4)], ids=str)
def test_another_solver_finds_the_same(shape):
    cvxpy = pytest.importorskip("cvxpy")
    table = np.random.default_rng(3).dirichlet(np.full(np.prod(shape), 0.5)).reshape(shape)
    joint = [cvxpy.Variable(shape[:2], nonneg=True) for _ in range(shape[2])]
    total = sum(joint)
    loss = sum(cvxpy.sum(cvxpy.rel_entr(one, total)) for one in joint)
    rules = [
        cvxpy.sum(one, axis=1 - axis) == table.sum(1 - axis)[:, y]
        for axis in BITS
        for y, one in enumerate(joint)
    ]
    problem = cvxpy.Problem(cvxpy.Minimize(loss), rules)
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    labels = table.sum((0, 1))
    least = problem.value - (labels * np.log(labels)).sum()
    found = decompose(table, unit="nats")
    assert found.redundant + sum(found.unique) == pytest.approx(least, abs=1e-6)


@pytest.mark.parametrize("table", [gate(lambda a, b: a & b), gate(lambda a, b: a + b)], ids=["and", "sum"])
def test_dit_finds_the_same(table):
    """On gates; of other tables its optimiser may stop before the optimum."""
    dit = pytest.importorskip("dit")
    cells = [place for place in np.ndindex(table.shape) if table[place] > 0]
    names, masses = ["".join(map(str, place)) for place in cells], [table[place] for place in cells]
    found = dit.pid.PID_BROJA(dit.Distribution(names, masses), ((0,), (1,)), (2,))
    theirs = [found.get_pi(atom) for atom in (((0,), (1,)), ((0,),), ((1,),), ((0, 1),))]
    np.testing.assert_allclose(parts(table), theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.ones((2, 2)), r"table must be \[first source, second source, target\], got shape \[2, 2\]"),
        (np.zeros((2, 2, 2)), "table must have some mass, got none"),
        (np.full((2, 2, 2), -1.0), "masses of 0 or more, got -1.0 as its least"),
        (np.full((1, 1, 1), np.nan), "masses of 0 or more, got nan as its least"),
    ],
)
def test_tables_that_are_none_are_refused(table, message):
    with pytest.raises(DataError, match=message):
        decompose(table)


def test_units():
    assert in_nats("bits") == pytest.approx(np.log(2))
    with pytest.raises(OptionError, match=r"unit must be one of \['bits', 'nats'\], got 'bans'"):
        decompose(np.ones((2, 2, 2)), unit="bans")
