"""Multi-head attention over plain tensors."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from fuseloom.nn.masked import masked_softmax

__all__ = ["attend", "attention_weights"]


def attend(
    query: Float[Tensor, "batch query dim"],
    key: Float[Tensor, "batch key dim"],
    value: Float[Tensor, "batch key width"],
    *,
    num_heads: int = 1,
    mask: Bool[Tensor, "#batch key"] | Bool[Tensor, "#batch query key"] | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "batch query width"]:
    """Scaled dot-product attention over the kept keys; zero where a sample or a query keeps none.

    Args:
        query: ``[B, Nq, D]``.
        key: ``[B, Nk, D]``.
        value: ``[B, Nk, Dv]``.
        num_heads: ``H``; must divide ``D`` and ``Dv``.
        mask: True keeps a key, for all queries ``[B, Nk]`` or for each ``[B, Nq, Nk]``; a batch of one stands
            for all samples.
        dropout: Probability of dropping an attention weight.
    """
    q, k, v = (_split(tensor, num_heads) for tensor in (query, key, value))
    if mask is None:
        return _join(F.scaled_dot_product_attention(q, k, v, dropout_p=dropout))
    # A row without keys is NaN in some kernels, so it attends to everything and is zeroed afterwards.
    keep = _per_query(mask)  # [B, 1, 1 or Nq, Nk]
    some = keep.any(-1, keepdim=True)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=keep | ~some, dropout_p=dropout)
    return _join(out).masked_fill(~some[:, 0], 0)


def attention_weights(
    query: Float[Tensor, "batch query dim"],
    key: Float[Tensor, "batch key dim"],
    *,
    num_heads: int = 1,
    mask: Bool[Tensor, "#batch key"] | Bool[Tensor, "#batch query key"] | None = None,
) -> Float[Tensor, "batch head query key"]:
    """The weights that `attend` uses, rows summing to one, or to zero where no key is kept."""
    queries, keys = _split(query, num_heads), _split(key, num_heads)
    scores = torch.einsum("bhqd,bhkd->bhqk", queries, keys) * queries.shape[-1] ** -0.5
    return masked_softmax(scores, None if mask is None else _per_query(mask))


def _per_query(mask: Tensor) -> Tensor:
    """A mask beside the head axis: ``[B, 1, 1 or Nq, Nk]``."""
    return mask[:, None, None] if mask.dim() == 2 else mask[:, None]


def _split(tensor: Tensor, num_heads: int) -> Tensor:
    return tensor.view(*tensor.shape[:-1], num_heads, -1).transpose(1, 2)  # [B, H, N, D / H]


def _join(heads: Tensor) -> Tensor:
    return heads.transpose(1, 2).flatten(2)  # [B, N, D]
