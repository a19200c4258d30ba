"""Comparisons: what they let through, and how they say what they do not."""

import pytest
import torch

from fuseloom.errors import ContractError
from fuseloom.testing._expect import expect, expect_close, expect_equal, expect_finite, gap

NAN, INF = float("nan"), float("inf")


def test_messages_follow_the_grammar_of_the_house() -> None:
    with pytest.raises(ContractError, match=r"^kind must be 'merge', got 3\.$"):
        expect(False, "kind", "'merge'", 3)


def test_equal_is_bit_for_bit_with_nan_equal_to_nan() -> None:
    value = torch.tensor([1.0, NAN])
    expect_equal({"a": value}, {"a": value.clone()}, "again")
    with pytest.raises(ContractError, match="a again must be the same bit for bit, got a gap of inf"):
        expect_equal({"a": torch.tensor([1.0, 2.0])}, {"a": value}, "again")
    with pytest.raises(ContractError, match=r"a gap of 1\.2e-07"):
        expect_equal({"a": torch.tensor([1 + 2**-23])}, {"a": torch.tensor([1.0])}, "again")


def test_close_is_relative_to_the_largest_entry() -> None:
    expect_close({"a": torch.tensor([1000.01, 0.0])}, {"a": torch.tensor([1000.0, 0.01])}, "here")
    with pytest.raises(ContractError, match="a here must be the same within 1e-06, got a gap of 1e-05"):
        expect_close({"a": torch.tensor([1000.01])}, {"a": torch.tensor([1000.0])}, "here", tolerance=1e-6)


@pytest.mark.parametrize(
    ("actual", "expected", "distance"),
    [
        ([1.0, 2.0], [1.0, 4.0], 0.5),
        ([0.0], [0.0], 0.0),
        ([], [], 0.0),
        ([1.0], [1.0, 1.0], INF),
        ([NAN], [NAN], INF),
        ([INF], [INF], INF),
    ],
)
def test_gap(actual: list[float], expected: list[float], distance: float) -> None:
    assert gap(torch.tensor(actual), torch.tensor(expected)) == distance


def test_finite_counts_what_is_not() -> None:
    expect_finite({"a": torch.ones(2)}, "now")
    with pytest.raises(ContractError, match="a now must be finite, got 2 entries that are not"):
        expect_finite({"a": torch.tensor([NAN, 1.0, -INF])}, "now")
