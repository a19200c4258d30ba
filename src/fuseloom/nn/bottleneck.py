"""Tokens that several sequences share, and what becomes of them when each has changed its copy."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from fuseloom.nn.masked import masked_mean

__all__ = ["join_shared", "mean_of_present"]


def join_shared(
    shared: Float[Tensor, "batch shared dim"],
    tokens: Float[Tensor, "batch token dim"],
    mask: Bool[Tensor, "batch token"] | None = None,
) -> tuple[Float[Tensor, "batch joined dim"], Bool[Tensor, "batch joined"] | None]:
    """Shared tokens before a sequence's own, and which of them all are real: every shared one is.

    Example:
        >>> tokens, mask = join_shared(torch.ones(1, 2, 4), torch.ones(1, 1, 4), torch.tensor([[False]]))
        >>> mask
        tensor([[ True,  True, False]])
    """
    real = None if mask is None else F.pad(mask, (shared.shape[1], 0), value=True)
    return torch.cat([shared, tokens], 1), real


def mean_of_present(
    copies: Sequence[Float[Tensor, "batch shared dim"]],
    present: Bool[Tensor, "batch copy"] | None,
    before: Float[Tensor, "batch shared dim"],
) -> Float[Tensor, "batch shared dim"]:
    """Mean of the copies of shared tokens over the sequences that a sample has; as before where it has none.

    Args:
        copies: One per sequence.
        present: Which sequences a sample has; all of them by default.
        before: The tokens that were copied.

    Example:
        >>> one, two, before = (torch.full((2, 1, 1), value) for value in (1.0, 3.0, 9.0))
        >>> present = torch.tensor([[True, True], [False, True]])
        >>> mean_of_present([one, two], present, before).flatten()
        tensor([2., 3.])
    """
    stacked = torch.stack(list(copies), -2)  # [B, n, M, D]
    if present is None:
        return stacked.mean(-2)
    mean = masked_mean(stacked, present[:, None].expand(stacked.shape[:-1]))
    return torch.where(present.any(-1)[:, None, None], mean, before)
