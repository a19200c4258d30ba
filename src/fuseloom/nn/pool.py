"""Tokens to one vector, each by the weight that it earns."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.nn.dropout import Dropout
from fuseloom.nn.masked import masked_softmax

__all__ = ["AttentionPool"]

_PENALTY = -1e4


class AttentionPool(nn.Module):
    r"""Mean of the tokens, weighted by what a learnt vector scores them.

    .. math:: y = \sum_n w_n x_n, \quad w = \mathrm{softmax}_n(\mathrm{ReLU}(v \cdot x_n + b))

    A sample without any real token gives zeros. In the official code of UNITER's and FSMR's heads, which
    ``faithful=True`` restores, a masked token's score is lowered by 10,000 instead, so that such a sample
    gives a mean of what stands under False.

    Args:
        dim: Width of the tokens.
        dropout: Probability of dropping a weight in training.
        faithful: Lower the score of masked tokens, as the official code does.

    Raises:
        OptionError: ``dropout`` is no probability.

    Example:
        >>> AttentionPool(4)(torch.ones(2, 3, 4), torch.tensor([[True] * 3, [False] * 3])).sum(1)
        tensor([4., 0.], grad_fn=<SumBackward1>)
    """

    def __init__(self, dim: int, *, dropout: float = 0.0, faithful: bool = False) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise OptionError(f"dropout must be in [0, 1), got {dropout}.")
        self.score, self.dropout = nn.Linear(dim, 1), Dropout(dropout)
        self._weigh = _lowered_softmax if faithful else masked_softmax

    def forward(
        self,
        tokens: Float[Tensor, "batch token dim"],
        mask: Bool[Tensor, "batch token"] | None = None,
    ) -> Float[Tensor, "batch dim"]:
        """Tokens ``[B, N, D]`` and which of them are real, ``[B, N]``, to ``[B, D]``."""
        scores = self.score(tokens).squeeze(-1).relu()
        weights = self.dropout(self._weigh(scores, mask))
        return torch.einsum("bn,bnd->bd", weights, tokens)


def _lowered_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    # NOTE(bug-for-bug): a finite penalty, which cancels where it is on every token.
    return (scores if mask is None else scores + _PENALTY * ~mask).softmax(-1)
