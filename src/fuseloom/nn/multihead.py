"""Attention of some tokens to others, with its four projections."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.nn.attention import attend, attention_weights
from fuseloom.nn.transformer import divisible_width
from fuseloom.types import Trace

__all__ = ["MultiHeadAttention", "convert_multi_head_attention"]

_OFFICIAL = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")


class MultiHeadAttention(nn.Module):
    """Tokens attend to those of a source of the same width, through linear maps before and behind.

    What a sample without any source token is given is the bias of the last map, and finite.

    Args:
        dim: Width of tokens and source.
        num_heads: Attention heads; must divide ``dim``.
        dropout: Probability of dropping an attention weight in training.

    Raises:
        OptionError: heads that do not divide ``dim``, or ``dropout`` that is no probability.

    Example:
        >>> MultiHeadAttention(8, num_heads=2)(torch.ones(3, 5, 8), torch.ones(3, 7, 8)).shape
        torch.Size([3, 5, 8])
    """

    def __init__(self, dim: int, *, num_heads: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        if divisible_width(dim, num_heads) != dim:
            raise OptionError(f"dim must be a multiple of num_heads={num_heads}, got {dim}.")
        if not 0 <= dropout < 1:
            raise OptionError(f"dropout must be in [0, 1), got {dropout}.")
        self.num_heads, self.dropout = num_heads, dropout
        self.query, self.key_value = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(
        self,
        tokens: Float[Tensor, "batch token dim"],
        source: Float[Tensor, "batch source dim"],
        mask: Bool[Tensor, "batch source"] | None = None,
        *,
        trace: Trace | None = None,
    ) -> Float[Tensor, "batch token dim"]:
        """Tokens ``[B, N, D]``, a source ``[B, S, D]`` and which of it is real, to ``[B, N, D]``.

        The trace records ``attention``, ``[B, H, N, S]``.
        """
        query, (key, value) = self.query(tokens), self.key_value(source).chunk(2, -1)
        dropout = self.dropout if self.training else 0.0
        mixed = attend(query, key, value, num_heads=self.num_heads, mask=mask, dropout=dropout)
        if trace is not None and trace.keep_records:
            trace.record("attention", attention_weights(query, key, num_heads=self.num_heads, mask=mask))
        out: Tensor = self.out(mixed)
        return out


def convert_multi_head_attention(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of `MultiHeadAttention` from that of torch's ``nn.MultiheadAttention`` with equal widths.

    Args:
        official: ``in_proj_weight``, ``in_proj_bias``, ``out_proj.weight`` and ``out_proj.bias``.

    Raises:
        OptionError: a key that is missing or unknown.
    """
    if wrong := sorted(official.keys() ^ set(_OFFICIAL)):
        raise OptionError(f"official must hold {list(_OFFICIAL)}, got {wrong[0]!r} missing or in addition.")
    state = {f"out.{kind}": official[f"out_proj.{kind}"] for kind in ("weight", "bias")}
    for kind in ("weight", "bias"):
        query, key, value = official[f"in_proj_{kind}"].chunk(3)
        state |= {f"query.{kind}": query, f"key_value.{kind}": torch.cat([key, value])}
    return state
