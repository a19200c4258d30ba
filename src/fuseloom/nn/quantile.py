"""Quantiles of the kept values of each row, exact where the rank is a whole number."""

from fractions import Fraction

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["below_quantile", "masked_quantile", "nearest_fraction"]

_LARGEST_DENOMINATOR = 1_000_000


def nearest_fraction(q: float) -> Fraction:
    """The fraction that a decimal such as 0.1 or 1 / 3 stands for, so that ranks are whole numbers exactly.

    Example:
        >>> nearest_fraction(0.1) * 30
        Fraction(3, 1)
    """
    return Fraction(q).limit_denominator(_LARGEST_DENOMINATOR)


def below_quantile(
    values: Float[Tensor, "*batch token"], q: Fraction, mask: Bool[Tensor, "*batch token"] | None = None
) -> Bool[Tensor, "*batch token"]:
    """Which kept values of a row lie strictly below its quantile, interpolated linearly between ranks.

    Of ``n`` distinct values these are ``ceil(q * (n - 1))``. The quantile itself is not computed: no value
    lies between two ranks, so a value is below it if and only if it is below the next whole rank. Rounding
    can then not add or drop a token.

    Args:
        values: ``[..., N]``.
        q: In [0, 1].
        mask: True keeps a value.

    Example:
        >>> below_quantile(torch.tensor([0.4, 0.1, 0.3, 0.2]), Fraction(1, 3))
        tensor([False,  True, False, False])
    """
    if values.shape[-1] == 0:
        return torch.zeros_like(values, dtype=torch.bool)
    kept = _kept(values, mask)
    ordered, last = _ordered(kept, mask)
    return kept < _at(ordered, _next_rank(q, last))


def masked_quantile(
    values: Float[Tensor, "*batch token"], q: Fraction, mask: Bool[Tensor, "*batch token"] | None = None
) -> Float[Tensor, "*batch"]:
    """The quantile of the kept values of each row, interpolated linearly; zero where none is kept.

    Example:
        >>> masked_quantile(torch.tensor([4.0, 1.0, 3.0, 2.0]), Fraction(1, 2))
        tensor(2.5000)
    """
    if values.shape[-1] == 0:
        return values.new_zeros(values.shape[:-1])
    ordered, last = _ordered(_kept(values, mask), mask)
    low, high = _at(ordered, q.numerator * last // q.denominator), _at(ordered, _next_rank(q, last))
    found = low + (high - low) * (q.numerator * last % q.denominator / q.denominator)
    bound = found.squeeze(-1)
    return bound if mask is None else bound.masked_fill(~mask.any(-1), 0)


def _kept(values: Tensor, mask: Tensor | None) -> Tensor:
    """Masked values beyond all others, below nothing."""
    return values if mask is None else values.masked_fill(~mask, torch.inf)


def _ordered(kept: Tensor, mask: Tensor | None) -> tuple[Tensor, int | Tensor]:
    """Each row in ascending order, and the rank of its last kept value from zero."""
    last = kept.shape[-1] - 1 if mask is None else (mask.sum(-1, keepdim=True) - 1).clamp(min=0)
    return kept.sort(-1).values, last


def _next_rank(q: Fraction, last: int | Tensor) -> int | Tensor:
    return -(-q.numerator * last // q.denominator)  # rounded up


def _at(ordered: Tensor, rank: int | Tensor) -> Tensor:
    return ordered.gather(-1, rank) if isinstance(rank, Tensor) else ordered.narrow(-1, rank, 1)
