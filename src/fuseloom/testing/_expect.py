"""Comparisons that raise `ContractError` in the grammar of all messages."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fuseloom.errors import ContractError

__all__ = ["FLOAT32", "FLOAT64", "LOW", "expect", "expect_close", "expect_equal", "expect_finite", "gap"]

FLOAT32 = 1e-4
"""Relative tolerance between two float32 results of different kernels or of unequal batches."""
FLOAT64 = 1e-9
"""Relative tolerance between two float64 results."""
LOW = 6e-2
"""Relative tolerance of bfloat16, which has 8 bits, after a chain of operations."""


def expect(holds: bool, what: str, expected: str, got: object) -> None:
    """Raise unless ``holds``.

    Raises:
        ContractError: it does not hold.
    """
    if not holds:
        raise ContractError(f"{what} must be {expected}, got {got}.")


def expect_equal(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    """Raise unless two results are the same bit for bit, NaN equal to NaN."""
    for name, value in expected.items():
        same = torch.equal(actual[name].nan_to_num(7e7), value.nan_to_num(7e7))
        expect(same, f"{name} {what}", "the same bit for bit", f"a gap of {gap(actual[name], value):.2g}")


def expect_close(
    actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str, *, tolerance: float = FLOAT32
) -> None:
    """Raise unless two results agree relative to their largest entry."""
    for name, value in expected.items():
        distance = gap(actual[name], value)
        expect(
            distance <= tolerance,
            f"{name} {what}",
            f"the same within {tolerance:.0e}",
            f"a gap of {distance:.2g}",
        )


def expect_finite(values: Mapping[str, Tensor], what: str) -> None:
    """Raise where an entry is NaN or infinite."""
    for name, value in values.items():
        bad = int((~value.isfinite()).sum())
        expect(bad == 0, f"{name} {what}", "finite", f"{bad} entries that are not")


def gap(actual: Tensor, expected: Tensor) -> float:
    """Largest difference relative to the largest entry, infinite for other shapes or non-finite values."""
    if actual.shape != expected.shape:
        return float("inf")
    a, b = actual.detach().double(), expected.detach().double()
    if not (a.isfinite().all() and b.isfinite().all()):
        return float("inf")
    if a.numel() == 0:
        return 0.0
    scale = torch.maximum(a.abs().max(), b.abs().max()).clamp(min=1e-30)
    return float((a - b).abs().max() / scale)
