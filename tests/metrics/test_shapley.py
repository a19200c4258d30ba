import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.errors import DataError
from fuseloom.metrics.shapley import (
    coalitions,
    drawn_orders,
    marginal_gains,
    mean_difference,
    shapley_values,
    shapley_weight,
    spread,
)

NAMES = "abcde"


@st.composite
def games(draw, least=1):
    """What every coalition of a few players reaches, drawn at random."""
    players = NAMES[: draw(st.integers(least, 5))]
    numbers = st.floats(-5, 5, allow_nan=False)
    return {one: np.array(draw(numbers)) for one in coalitions(players)}


def players_of(table):
    return sorted(max(table, key=len))


@given(games())
def test_values_sum_to_what_all_reach_beyond_nothing(table):
    total = sum(shapley_values(table).values())
    assert total == pytest.approx(table[frozenset(players_of(table))] - table[frozenset()], abs=1e-9)


@given(games(least=2))
def test_players_that_may_be_exchanged_are_worth_the_same(table):
    a, b = players_of(table)[:2]

    def swapped(one):
        return frozenset({a: b, b: a}.get(name, name) for name in one)

    even = {one: table[one] + table[swapped(one)] for one in table}
    values = shapley_values(even)
    assert values[a] == pytest.approx(values[b], abs=1e-9)


@given(games(least=2))
def test_a_player_that_changes_nothing_is_worth_nothing(table):
    idle = players_of(table)[0]
    values = shapley_values({one: table[one - {idle}] for one in table})
    assert values[idle] == pytest.approx(0, abs=1e-9)


@given(games(), st.floats(-3, 3))
def test_values_are_linear_in_the_game(table, factor):
    doubled = shapley_values({one: factor * value + len(one) for one, value in table.items()})
    for name, value in shapley_values(table).items():
        assert doubled[name] == pytest.approx(factor * value + 1, abs=1e-8)


@given(games(least=2))
def test_the_mean_over_all_orders_is_the_same(table):
    from itertools import permutations

    orders = list(permutations(players_of(table)))
    gains = [marginal_gains(order, table.__getitem__) for order in orders]
    for name, value in shapley_values(table).items():
        assert np.mean([one[name] for one in gains]) == pytest.approx(value, abs=1e-9)


def test_an_array_is_a_game_per_entry():
    generator = np.random.default_rng(0)
    table = {one: generator.normal(size=(3, 2)) for one in coalitions("abc")}
    whole = shapley_values(table)
    for place in np.ndindex(3, 2):
        alone = shapley_values({one: value[place] for one, value in table.items()})
        assert all(whole[name][place] == pytest.approx(value) for name, value in alone.items())


@given(st.integers(1, 12))
def test_weights_over_all_coalitions_of_the_others_sum_to_one(count):
    from math import comb

    total = sum(comb(count - 1, size) * shapley_weight(size, count) for size in range(count))
    assert total == pytest.approx(1)


def test_a_missing_coalition_is_named():
    table = {one: np.array(0.0) for one in coalitions("ab") if one != frozenset("b")}
    with pytest.raises(DataError, match=r"all 4 coalitions of \['a', 'b'\], got 3 without \['b'\]"):
        shapley_values(table)


def test_orders_are_drawn_evenly_and_come_with_their_reverse():
    orders = drawn_orders("abc", 3000, np.random.default_rng(0))
    assert all(orders[place + 1] == orders[place][::-1] for place in range(0, len(orders), 2))
    counts = {order: orders.count(order) for order in set(orders)}
    assert len(counts) == 6
    assert max(counts.values()) - min(counts.values()) < 200
    assert len(drawn_orders("abc", 3, np.random.default_rng(0))) == 4


def test_imbalance_is_nothing_for_equals_and_grows_with_the_difference():
    assert spread({"a": np.array([1.0, 2.0]), "b": np.array([1.0, 5.0])}).tolist() == [0, 3]
    three = {name: np.array(value) for name, value in zip("abc", (0.0, 1.0, 4.0), strict=True)}
    assert mean_difference(three) == pytest.approx((1 + 4 + 3) / 3)
    assert mean_difference({"a": np.array([1.0, 2.0])}).tolist() == [0, 0]
