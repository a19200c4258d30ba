"""How one vector relates to another, as a score of each of its features."""

from collections.abc import Sequence
from itertools import permutations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fuseloom.nn.masked import masked_softmax

__all__ = ["pair_scores", "sum_and_difference"]


def pair_scores(
    values: Sequence[Float[Tensor, "row dim"]],
    hidden: tuple[Float[Tensor, "inner twice"], Float[Tensor, " inner"]],
    out: tuple[Float[Tensor, "dim inner"], Float[Tensor, " dim"]],
) -> dict[tuple[int, int], Float[Tensor, "row dim"]]:
    r"""Scores of each ordered pair ``(i, j)`` of values, positive and one in sum over the features.

    .. math:: s_{ij} = \mathrm{softmax}(W_2 \, \mathrm{GELU}(W_1 [x_i; x_j] + b_1) + b_2)

    Args:
        values: ``[R, D]`` each.
        hidden: ``W_1``, ``[H, 2 D]``, and ``b_1``.
        out: ``W_2``, ``[D, H]``, and ``b_2``.

    Example:
        >>> import torch
        >>> zero = torch.zeros(4, 8), torch.zeros(4)
        >>> pair_scores([torch.ones(1, 4), torch.zeros(1, 4)], zero, (torch.eye(4), torch.zeros(4)))[0, 1]
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    mapped = _first_layer(values, *hidden)
    return {pair: masked_softmax(F.linear(F.gelu(value), *out)) for pair, value in mapped.items()}


def sum_and_difference(
    weight: Float[Tensor, "inner twice"],
) -> tuple[Float[Tensor, "inner dim"], Float[Tensor, "inner dim"]]:
    r"""Matrices ``A`` and ``B`` with ``W [x; y] = A (x + y) + B (x - y)``, and so ``W [y; x]`` with ``- B``.

    Example:
        >>> import torch
        >>> sum_and_difference(torch.tensor([[3.0, 1.0]]))
        (tensor([[2.]]), tensor([[1.]]))
    """
    own, other = weight.chunk(2, 1)
    return (own + other) / 2, (own - other) / 2


def _first_layer(values: Sequence[Tensor], weight: Tensor, bias: Tensor) -> dict[tuple[int, int], Tensor]:
    """``W_1 [x_i; x_j] + b_1`` without concatenating, no half of a product twice."""
    if len(values) == 2:
        # Both directions from the sum and the difference: two products instead of four.
        (first, second), (total, gap) = values, sum_and_difference(weight)
        both, apart = F.linear(first + second, total, bias), F.linear(first - second, gap)
        return {(0, 1): both + apart, (1, 0): both - apart}
    own, other = weight.chunk(2, 1)
    left = [F.linear(value, own, bias) for value in values]
    right = [F.linear(value, other) for value in values]
    return {(i, j): left[i] + right[j] for i, j in permutations(range(len(values)), 2)}
