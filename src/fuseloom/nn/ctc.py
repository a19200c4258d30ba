"""Soft alignment of a sequence to a number of steps, learnt by connectionist temporal classification."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fuseloom.errors import OptionError

__all__ = ["CtcAlignment"]


class CtcAlignment(nn.Module):
    r"""A sequence of any length to a fixed number of steps, each a weighted sum of the sequence's tokens.

    .. math:: y_k = \sum_n P_{nk} x_n, \quad [P_{n0}, P_{n1}, \dots] = \mathrm{softmax}(\mathrm{LSTM}(x)_n)

    Each token is given shares of a blank (0), which takes what belongs to no step, and of the steps. A CTC
    loss (``torch.nn.CTCLoss``) is taken of `scores`, against the steps 1, 2, ... in order. This is how a
    stream can be brought to the length of another before MulT (Tsai et al., 2019). As there, the scores are
    the LSTM's outputs, between -1 and 1: a token gives a step at most ``1 / (1 + K exp(-2))`` of itself.

    Args:
        dim: Width of the tokens.
        num_steps: Steps ``K``.

    Raises:
        OptionError: no step.

    Example:
        >>> CtcAlignment(5, 4)(torch.ones(2, 6, 5)).shape
        torch.Size([2, 4, 5])
    """

    def __init__(self, dim: int, num_steps: int) -> None:
        super().__init__()
        if num_steps < 1:
            raise OptionError(f"num_steps must be at least 1, got {num_steps}.")
        self.predictor = nn.LSTM(dim, num_steps + 1, num_layers=2, batch_first=True)

    def scores(self, tokens: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token step"]:
        """Unnormalised log-probabilities of the blank and of each step, ``[B, N, 1 + K]``."""
        out: Tensor
        out, _ = self.predictor(tokens)
        return out

    def forward(
        self,
        tokens: Float[Tensor, "batch token dim"],
        mask: Bool[Tensor, "batch token"] | None = None,
    ) -> Float[Tensor, "batch step dim"]:
        """``[B, N, D]`` to ``[B, K, D]``; a token under False is read as zero and gives nothing."""
        real = tokens if mask is None else tokens.masked_fill(~mask[..., None], 0)
        shares = self.scores(real).softmax(-1)[..., 1:]
        return torch.einsum("bnk,bnd->bkd", shares, real)
