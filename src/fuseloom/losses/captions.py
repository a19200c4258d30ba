"""Losses of a captioner that attends to an image: its words, and that it looks everywhere once."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

__all__ = ["caption_loss", "doubly_stochastic_loss"]

_IGNORED = -100


def caption_loss(
    logits: Float[Tensor, "batch step word"],
    captions: Int[Tensor, "batch length"],
    mask: Bool[Tensor, "batch length"] | None = None,
) -> Float[Tensor, ""]:
    """Mean cross-entropy, in nats, of every real word behind the start mark; zero where there is none.

    Args:
        logits: Of the words that follow, ``[B, T - 1, V]``.
        captions: ``[B, T]``, from the start mark to the end mark.
        mask: ``[B, T]``, True = real.

    Example:
        >>> caption_loss(torch.zeros(1, 2, 4), torch.tensor([[1, 3, 2]])).exp()
        tensor(4.)
    """
    targets = captions[:, 1:] if mask is None else captions[:, 1:].masked_fill(~mask[:, 1:], _IGNORED)
    total = F.cross_entropy(
        _wide(logits).flatten(0, 1), targets.flatten(), ignore_index=_IGNORED, reduction="sum"
    )
    return total / (targets != _IGNORED).sum().clamp(min=1)


def doubly_stochastic_loss(
    attention: Float[Tensor, "batch step token"],
    mask: Bool[Tensor, "batch length"] | None = None,
    image_mask: Bool[Tensor, "batch token"] | None = None,
) -> Float[Tensor, ""]:
    r"""How far the looks at an image token, over a caption, are from one in all.

    .. math:: \operatorname{mean}_{b, p} \Bigl(1 - \sum_t \alpha_{btp}\Bigr)^2

    Paper: Xu et al., 2015, "Show, Attend and Tell", arXiv:1502.03044.

    Args:
        attention: ``[B, T - 1, P]``, zero where a caption has ended.
        mask: Of the captions, ``[B, T]``, True = real: rows without a caption do not count.
        image_mask: ``[B, P]``, True = real: nor do other tokens.

    Example:
        >>> doubly_stochastic_loss(torch.tensor([[[0.5, 0.5], [0.5, 0.5]]]))
        tensor(0.)
    """
    gap = (1 - _wide(attention).sum(1)).square()  # [B, P]
    kept = torch.ones_like(gap, dtype=torch.bool)
    if mask is not None:
        kept = kept & mask[:, 1:].any(1, keepdim=True)
    if image_mask is not None:
        kept = kept & image_mask
    return gap.masked_fill(~kept, 0).sum() / kept.sum().clamp(min=1)


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
