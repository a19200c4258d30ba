"""Linear maps of several inputs at once."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["sum_of_linears"]


def sum_of_linears(
    values: Sequence[Float[Tensor, "*batch _"]],
    weights: Sequence[Float[Tensor, "dim _"]],
    bias: Float[Tensor, " dim"] | None = None,
) -> Float[Tensor, "*batch dim"]:
    """Sum of ``W_m x_m`` plus a bias: the linear map of the concatenation, without concatenating.

    Example:
        >>> sum_of_linears([torch.ones(1, 2), torch.ones(1, 1)], [torch.ones(1, 2), torch.ones(1, 1)])
        tensor([[3.]])
    """
    rows = [value.reshape(-1, value.shape[-1]) for value in values]
    out = F.linear(rows[0], weights[0], bias)
    for row, weight in zip(rows[1:], weights[1:], strict=True):
        out = torch.addmm(out, row, weight.t())  # adds in place of a second result and a sum of both
    return out.view(*values[0].shape[:-1], weights[0].shape[0])
