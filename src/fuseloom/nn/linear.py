"""Linear maps of several inputs at once."""

from collections.abc import Sequence

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
        >>> import torch
        >>> sum_of_linears([torch.ones(1, 2), torch.ones(1, 1)], [torch.ones(1, 2), torch.ones(1, 1)])
        tensor([[3.]])
    """
    out = F.linear(values[0], weights[0], bias)
    for value, weight in zip(values[1:], weights[1:], strict=True):
        out = out + F.linear(value, weight)
    return out
