"""Embeddings computed elsewhere: a small MLP, per vector or per token."""

from torch import Tensor, nn

from fuseloom.encoders._base import Encoder
from fuseloom.nn import Dropout
from fuseloom.part import zero_masked
from fuseloom.registry import register

__all__ = ["EmbeddingEncoder"]


@register("embedding")
class EmbeddingEncoder(Encoder):
    """Two-layer MLP on standardised vectors ``[B, in_dim]`` or sequences of them ``[B, N, in_dim]``.

    Args:
        in_dim: Width of the given vectors.
        dim: Width of the stream.
        dropout: Probability of dropping a feature, of the input and of the hidden layer.
    """

    def __init__(self, in_dim: int, *, dim: int = 64, dropout: float = 0.2) -> None:
        super().__init__([_Mlp(in_dim, dim, dropout)], [dim])


class _Mlp(nn.Module):
    def __init__(self, in_dim: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Dropout(dropout),
            nn.Linear(in_dim, 2 * dim),
            nn.ReLU(),
            Dropout(dropout),
            nn.Linear(2 * dim, dim),
            nn.LayerNorm(dim),
        )

    def forward(self, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        known = value if mask is None else zero_masked(value, mask)
        return self.layers(known), mask
