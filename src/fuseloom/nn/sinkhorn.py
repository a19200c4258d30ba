"""Scaling of the rows and columns of a matrix to given sums."""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["sinkhorn"]

_TINY = 1e-8


def sinkhorn(
    matrix: Float[Tensor, "... n m"],
    rows: Float[Tensor, "... n"],
    columns: Float[Tensor, "... m"],
    *,
    tolerance: float = 0.01,
    max_rounds: int = 500,
) -> Float[Tensor, "... n m"]:
    """Scale the columns, then the rows, in turn until the other sums are met too.

    A matrix is done as soon as, after its columns were scaled, each row sum is within the tolerance, or the
    other way round; of a batch of matrices each stops by itself. Gradients flow through every scaling.

    Args:
        matrix: Positive values ``[..., n, m]``.
        rows: Sums wanted of the rows ``[..., n]``.
        columns: Sums wanted of the columns ``[..., m]``. Where the two totals differ, both cannot be met.
        tolerance: Greatest error of a sum.
        max_rounds: Each scales columns and rows once.

    Example:
        >>> scaled = sinkhorn(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.ones(2), torch.ones(2))
        >>> (scaled.sum(-1) - 1).abs().max() < 0.01
        tensor(True)
    """
    busy = torch.ones(*matrix.shape[:-2], 1, 1, dtype=torch.bool, device=matrix.device)
    for half in range(2 * max_rounds):
        axis, wanted, others = (-2, columns, rows) if half % 2 == 0 else (-1, rows, columns)
        factor = wanted / (matrix.sum(axis) + _TINY)
        matrix = torch.where(busy, matrix * factor.unsqueeze(axis), matrix)
        off = (matrix.detach().sum(-1 if axis == -2 else -2) - others).abs().amax(-1)
        busy = busy & (off > tolerance)[..., None, None]
        if not busy.any():
            break
    return matrix
