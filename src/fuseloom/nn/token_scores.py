"""How much each token of a stream matters: parts that give every token a score."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.nn.masked import masked_softmax

__all__ = ["TOKEN_SCORES", "TokenScore", "first_token_attention"]

_SCATTER, _LEVELS = 40503, 65536


def first_token_attention(
    query: Float[Tensor, "batch query dim"],
    key: Float[Tensor, "batch key dim"],
    *,
    num_heads: int = 1,
    mask: Bool[Tensor, "batch key"] | None = None,
) -> Float[Tensor, "batch key"]:
    """Attention of the first query to each key, averaged over heads, in float32 at least.

    Only this row of the attention matrix is computed. Masked keys get exactly zero.

    Args:
        query: ``[B, Nq, D]``.
        key: ``[B, Nk, D]``.
        num_heads: ``H``; must divide ``D``.
        mask: True keeps a key.
    """
    wide = torch.promote_types(query.dtype, torch.float32)
    # A sum of products rather than a matrix product, which autocast would round: half precision ties.
    products = query[:, :1].to(wide) * key.to(wide)
    heads = products.view(*products.shape[:-1], num_heads, -1)
    scores = heads.sum(-1).transpose(1, 2)  # [B, H, Nk]
    scores = scores * (key.shape[-1] // num_heads) ** -0.5
    return masked_softmax(scores, None if mask is None else mask[:, None]).mean(1)


class TokenScore(nn.Module, ABC):
    """Scores the tokens of one stream; the lowest are those that matter least.

    Args:
        dim: Width of the tokens.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    @abstractmethod
    def forward(self, tokens: Tensor, mask: Tensor | None, other: Tensor) -> Tensor:
        """Tokens ``[B, N, D]``, which are real, and a vector ``[B, D]`` to compare with, to ``[B, N]``."""


class _Attention(TokenScore):
    """Attention that token 0 pays to each token, without weights of its own."""

    def forward(self, tokens: Tensor, mask: Tensor | None, other: Tensor) -> Tensor:
        return first_token_attention(tokens, tokens, mask=mask)


class _Cosine(TokenScore):
    """Cosine of each token with token 0."""

    def forward(self, tokens: Tensor, mask: Tensor | None, other: Tensor) -> Tensor:
        return F.cosine_similarity(tokens, tokens[:, :1], dim=-1)


class _OtherCls(TokenScore):
    """Cosine of each token with a vector of another stream."""

    def forward(self, tokens: Tensor, mask: Tensor | None, other: Tensor) -> Tensor:
        return F.cosine_similarity(tokens, other[:, None], dim=-1)


class _Norm(TokenScore):
    """Length of each token."""

    def forward(self, tokens: Tensor, mask: Tensor | None, other: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(tokens, dim=-1)
        return length


class _Random(TokenScore):
    """Drawn anew in training; in evaluation a fixed order in which neighbouring places are far apart."""

    def forward(self, tokens: Tensor, mask: Tensor | None, other: Tensor) -> Tensor:
        if self.training:
            return torch.rand(tokens.shape[:2], device=tokens.device)
        place = torch.arange(tokens.shape[1], device=tokens.device)
        scattered = (place * _SCATTER % _LEVELS).to(torch.float32)
        return (scattered / _LEVELS).expand(tokens.shape[:2])


class _Learned(TokenScore):
    """A linear map of each token through a sigmoid."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.linear = nn.Linear(dim, 1)

    def forward(self, tokens: Tensor, mask: Tensor | None, other: Tensor) -> Tensor:
        score: Tensor = self.linear(tokens).squeeze(-1).sigmoid()
        return score


TOKEN_SCORES: Mapping[str, type[TokenScore]] = {
    "attention": _Attention,
    "cosine": _Cosine,
    "learned": _Learned,
    "norm": _Norm,
    "other_cls": _OtherCls,
    "random": _Random,
}
"""Name -> part, built from the width of its stream."""
