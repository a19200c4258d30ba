import math
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.data.cells import MISSING, as_numbers, as_strings, clean, from_objects, is_empty, is_missing
from fuseloom.errors import DataError


@pytest.mark.parametrize("token", [*sorted(MISSING), "NULL", " NaN ", "None", "  "])
def test_every_spelling_of_a_missing_cell_is_missing(token: str) -> None:
    assert is_missing(clean([token, "there"])).tolist() == [True, False]
    assert as_strings(clean([token, "there"])).tolist() == [None, "there"]


def test_an_empty_cell_is_told_from_one_that_says_it_is_missing() -> None:
    cells = from_objects(["", " ", "NA", None, "red"], name="x")
    assert is_missing(cells).tolist() == [True, True, True, True, False]
    assert is_empty(cells).tolist() == [True, True, False, False, False]
    assert not is_empty(np.array([1.0, math.nan])).any()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_survive_being_written(values: list[float]) -> None:
    numbers, unreadable = as_numbers(clean([repr(value) for value in values]))
    assert numbers.tolist() == values
    assert not unreadable.any()


@pytest.mark.parametrize("cell", ["red", "inf", "-Infinity", "1_000", "1,5", "+nan"])
def test_what_is_no_finite_number_is_marked(cell: str) -> None:
    numbers, unreadable = as_numbers(clean(["1", cell, ""]))
    assert unreadable.tolist() == [False, True, False]
    np.testing.assert_array_equal(numbers, [1, math.nan, math.nan])


def test_one_word_does_not_change_the_numbers_beside_it() -> None:
    numbers, _ = as_numbers(clean(["1e3", "word", "-2.5"]))
    np.testing.assert_array_equal(numbers, [1000, math.nan, -2.5])


def test_decimal_comma_is_read_only_where_asked_for() -> None:
    numbers, unreadable = as_numbers(clean(["1,5", "2.5"]), decimal_comma=True)
    assert numbers.tolist() == [1.5, 2.5]
    assert not unreadable.any()


def test_infinite_numbers_are_marked_and_the_column_is_not_changed() -> None:
    cells = np.array([1.0, math.inf, math.nan])
    numbers, unreadable = as_numbers(cells)
    np.testing.assert_array_equal(numbers, [1, math.nan, math.nan])
    assert unreadable.tolist() == [False, True, False]
    assert math.isinf(cells[1])


def test_numbers_as_strings_are_those_a_file_would_hold() -> None:
    assert as_strings(np.array([3.0, 2.5, math.nan])).tolist() == ["3", "2.5", None]
    assert as_strings(clean(["a", ""])).tolist() == ["a", None]


def test_objects_become_numbers_only_if_all_are() -> None:
    np.testing.assert_array_equal(from_objects([1, None, 2.5], name="x"), [1, math.nan, 2.5])
    assert from_objects(["a", 1, 2.0, None, True, math.nan], name="x").tolist() == [
        "a", "1", "2", None, "True", None,
    ]  # fmt: skip
    assert from_objects([True, False], name="x").tolist() == ["True", "False"]
    assert from_objects([date(2024, 5, 1)], name="x").tolist() == ["2024-05-01"]
    assert from_objects([None, None], name="x").tolist() == [None, None]


def test_objects_of_other_types_are_refused() -> None:
    with pytest.raises(DataError, match="'x' must hold strings, numbers or booleans, got list"):
        from_objects([[1, 2]], name="x")


def test_is_missing_knows_both_kinds_of_column() -> None:
    assert is_missing(np.array([1.0, math.nan])).tolist() == [False, True]
    assert is_missing(np.array(["a", None], dtype=object)).tolist() == [False, True]
