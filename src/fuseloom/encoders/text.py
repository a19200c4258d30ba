"""Text as bytes: hashed byte n-grams, no vocabulary and no download."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.encoders._base import Encoder
from fuseloom.errors import OptionError
from fuseloom.nn import Dropout
from fuseloom.registry import register

__all__ = ["TextEncoder", "hash_ngrams"]


@register("text")
class TextEncoder(Encoder):
    """Sums embeddings of the byte n-grams that end at each byte, then averages windows of bytes to tokens.

    N-grams are hashed into a table, so the encoder has no vocabulary, takes any UTF-8 text and nothing
    needs to be fitted. After Bojanowski et al., 2017, arXiv:1607.04606 (there within words).

    Args:
        dim: Width of the stream.
        max_n: Longest n-gram, in bytes.
        num_buckets: Rows of the table; two n-grams may share one.
        window: Bytes per token.
        dropout: Probability of dropping a feature.

    Shapes: bytes ``[B, T]`` (uint8) and mask ``[B, T]`` to tokens ``[B, ceil(T / window), dim]``.

    Raises:
        OptionError: ``max_n``, ``num_buckets`` or ``window`` below one.
    """

    def __init__(
        self,
        *,
        dim: int = 64,
        max_n: int = 5,
        num_buckets: int = 16384,
        window: int = 16,
        dropout: float = 0.2,
    ) -> None:
        if min(max_n, num_buckets, window) < 1:
            raise OptionError(
                f"max_n, num_buckets and window must be at least 1, got {max_n}, {num_buckets} and {window}."
            )
        super().__init__([_NGrams(dim, max_n, num_buckets, window, dropout)], [dim])


class _NGrams(nn.Module):
    def __init__(self, dim: int, max_n: int, num_buckets: int, window: int, dropout: float) -> None:
        super().__init__()
        self.max_n, self.window = max_n, window
        self.table = nn.Embedding(num_buckets, dim)
        nn.init.normal_(self.table.weight, std=max_n**-0.5)
        self.rest = nn.Sequential(nn.LayerNorm(dim), Dropout(dropout), nn.Linear(dim, dim), nn.LayerNorm(dim))

    def forward(self, text: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        kept = mask if mask is not None else torch.ones_like(text, dtype=torch.bool)
        text, kept = _pad_to_multiple(text, kept, self.window)
        buckets, real = hash_ngrams(text, kept, self.max_n, self.table.num_embeddings)
        # Windows are summed inside the lookup, so nothing of size T x max_n x dim is made.
        places = buckets.reshape(-1, self.window * self.max_n)
        weights = real.reshape(-1, self.window * self.max_n).to(self.table.weight.dtype)
        summed = F.embedding_bag(places, self.table.weight, per_sample_weights=weights, mode="sum")
        windows = kept.view(text.shape[0], -1, self.window)
        counts = windows.sum(-1).clamp(min=1)
        tokens = summed.view(text.shape[0], -1, self.table.embedding_dim) / counts[..., None]
        return self.rest(tokens), windows.any(-1)


def hash_ngrams(
    text: Int[Tensor, "batch byte"], mask: Bool[Tensor, "batch byte"], max_n: int, num_buckets: int
) -> tuple[Int[Tensor, "batch byte n"], Bool[Tensor, "batch byte n"]]:
    """Bucket of the n-gram that ends at each byte, for n from 1 to ``max_n``, and whether it is all real.

    Returns:
        Buckets and realness, both ``[B, T, max_n]``.
    """
    # A multiplier of Knuth's kind; 31 bits keep the products inside int64.
    multiplier, modulus = 2654435761 % (1 << 31), (1 << 31) - 1
    code, real = torch.zeros_like(text, dtype=torch.long), mask
    buckets, reals = [], []
    for n in range(max_n):
        shifted = F.pad(text, (n, 0))[:, : text.shape[1]].long()
        real = real & F.pad(mask, (n, 0))[:, : text.shape[1]]
        code = (code * multiplier + shifted + 1) % modulus
        buckets.append((code + n * 7919) % modulus % num_buckets)
        reals.append(real)
    return torch.stack(buckets, -1), torch.stack(reals, -1)


def _pad_to_multiple(text: Tensor, mask: Tensor, window: int) -> tuple[Tensor, Tensor]:
    short = -text.shape[1] % window
    return F.pad(text, (0, short)), F.pad(mask, (0, short))
