"""A score in [0, 1] of each token: whether it is worth keeping."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["ScorePredictor"]


class ScorePredictor(nn.Module):
    r"""A norm and a perceptron that narrows to two logits, the first of them for keeping the token.

    .. math:: s = \mathrm{softmax}(\mathrm{MLP}(\mathrm{LN}(x)))_1

    Widths are ``D``, ``D``, ``D // 2``, ``D // 4`` and 2. It starts near one half for every token.

    Paper: Wang et al., 2022, arXiv:2204.08721.

    Args:
        dim: Width ``D`` of the tokens.

    Example:
        >>> scores = ScorePredictor(8)(torch.randn(2, 5, 8))
        >>> scores.shape, bool(((scores > 0.45) & (scores < 0.55)).all())
        (torch.Size([2, 5]), True)
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        widths = (dim, dim, max(dim // 2, 1), max(dim // 4, 1), 2)
        layers: list[nn.Module] = [nn.LayerNorm(dim)]
        for inner, outer in pairwise(widths):
            layers += [_linear(inner, outer), nn.GELU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, tokens: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        """``[B, N, D]`` to ``[B, N]``, in float32 at least."""
        keep, drop = self.logits(tokens).unbind(-1)
        wide = torch.promote_types(keep.dtype, torch.float32)
        return torch.sigmoid(keep.to(wide) - drop.to(wide))  # what a softmax over both gives

    def logits(self, tokens: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch 2"]:
        """``[B, N, D]`` to ``[B, N, 2]``: for keeping a token and for replacing it."""
        found: Tensor = self.layers(tokens)
        return found


def _linear(inner: int, outer: int) -> nn.Linear:
    linear = nn.Linear(inner, outer)
    nn.init.trunc_normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)
    return linear
