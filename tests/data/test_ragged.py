import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.data.ragged import Problems, padded, stacked
from fuseloom.errors import DataError


def test_vectors_stay_vectors() -> None:
    found = stacked("v", [np.array([1, 2]), None, np.array([np.nan, np.nan]), np.array([np.nan, 4])], {})
    np.testing.assert_array_equal(found.values, [[1, 2], [np.nan] * 2, [np.nan] * 2, [np.nan, 4]])
    assert found.mask.tolist() == [True, False, False, True]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=8), st.integers(1, 3))
def test_sequences_can_be_read_back(lengths: list[int], width: int) -> None:
    rows = [np.arange(n * width, dtype=np.float32).reshape(n, width) for n in lengths]
    found = stacked("s", rows, {})
    assert found.mask.sum(1).tolist() == lengths
    for row, values, real in zip(rows, found.values, found.mask, strict=True):
        np.testing.assert_array_equal(values[real], row)


def test_what_is_unlike_most_is_a_problem_of_its_row() -> None:
    problems: Problems = {1: "said before"}
    rows = [np.ones((2, 3)), np.ones(3), np.ones((1, 3)), np.array("x"), np.ones((4, 3), dtype=bool)]
    found = stacked("s", rows, problems)
    assert found.mask.sum(1).tolist() == [2, 0, 1, 0, 4]
    assert problems == {
        1: "said before",
        3: "s: must be numbers [T, 3] as in most rows, got <U1 of shape ()",
    }


def test_numbers_beyond_float32_become_infinite_without_a_warning() -> None:
    assert np.isinf(stacked("v", [np.array([1e300])], {}).values).all()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([None, None], r"'v' must have an array in some row, got none\."),
        (
            [np.ones(2), np.ones(3)],
            r"'v' must hold vectors \[D\] .* got arrays such as float64 \(2,\), float64",
        ),
        ([np.ones((2, 2, 2))], r"such as float64 \(2, 2, 2\)"),
        ([np.ones((2, 0))], r"such as float64 \(2, 0\)"),
        ([np.array(["a"])], r"of numbers and of one width, got arrays such as <U1 \(1,\)"),
    ],
)
def test_rows_without_a_common_shape_are_refused(rows, message: str) -> None:
    with pytest.raises(DataError, match=message):
        stacked("v", rows, {})


def test_the_first_reason_is_told_where_no_row_is_left() -> None:
    with pytest.raises(DataError, match="got none; the first row: v: broken"):
        stacked("v", [None], {0: "v: broken"})


def test_values_of_steps_are_padded() -> None:
    found = padded("s.time", [np.array([0.5, 2]), None, [1.0]], [2, 0, 1], fill=np.nan)
    np.testing.assert_array_equal(found, [[0.5, 2], [np.nan] * 2, [1, np.nan]])
    with pytest.raises(
        DataError, match=r"s\.time must have one value per step, got shape \(1,\) in row 0 of 2"
    ):
        padded("s.time", [[1.0]], [2], fill=np.nan)
