"""Rows of numbers and categories, with holes."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from fuseloom.encoders._base import Encoder
from fuseloom.nn import Dropout
from fuseloom.registry import register

__all__ = ["TableEncoder"]


@register("table")
class TableEncoder(Encoder):
    """MLP on a row of standardised numbers and category codes.

    A missing number (NaN) enters as zero together with a flag, so the model can learn what missing means;
    a missing or unseen category has code 0 and an embedding of its own.

    Args:
        num_numbers: Number columns, which come first in a row.
        cardinalities: Codes of each category column, the code 0 included.
        dim: Width of the stream.
        dropout: Probability of dropping a feature of the hidden layers.

    Shapes: row ``[B, num_numbers + len(cardinalities)]`` to stream ``[B, dim]``.
    """

    def __init__(
        self, num_numbers: int, cardinalities: Sequence[int], *, dim: int = 64, dropout: float = 0.2
    ) -> None:
        super().__init__([_Row(num_numbers, cardinalities, dim, dropout)], [dim])


class _Row(nn.Module):
    counts: Tensor
    offsets: Tensor

    def __init__(self, num_numbers: int, cardinalities: Sequence[int], dim: int, dropout: float) -> None:
        super().__init__()
        self.num_numbers = num_numbers
        # A layer for no columns would have no weights, which torch warns of.
        self.numbers = nn.Linear(2 * num_numbers, 2 * dim, bias=False) if num_numbers else None
        self.categories = nn.Embedding(sum(cardinalities), 2 * dim) if cardinalities else None
        self.register_buffer("counts", torch.tensor(list(cardinalities), dtype=torch.long), persistent=False)
        starts = list(accumulate(cardinalities, initial=0))[:-1]
        self.register_buffer("offsets", torch.tensor(starts, dtype=torch.long), persistent=False)
        self.bias = nn.Parameter(torch.zeros(2 * dim))
        self.rest = nn.Sequential(nn.ReLU(), Dropout(dropout), nn.Linear(2 * dim, dim), nn.LayerNorm(dim))

    def forward(self, row: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        hidden = self.bias.expand(row.shape[0], -1)
        if self.numbers is not None:
            numbers = row[:, : self.num_numbers]
            missing = numbers.isnan()
            known = torch.cat([numbers.masked_fill(missing, 0), missing.to(row.dtype)], -1)
            hidden = hidden + self.numbers(known)
        if self.categories is not None:
            # A row that is absent altogether may hold NaN where codes stand.
            codes = row[:, self.num_numbers :].nan_to_num(0).round().long()
            # What is no code, as where noise stands in for a row, is an unseen category.
            codes = torch.where((codes >= 0) & (codes < self.counts), codes, 0)
            hidden = hidden + self.categories(codes + self.offsets).sum(1)
        return self.rest(hidden), mask
