"""Reductions that skip what is masked; a row with nothing kept gives zeros, and finite gradients."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["masked_max", "masked_mean", "masked_softmax"]


def masked_mean(
    tokens: Float[Tensor, "*batch token dim"], mask: Bool[Tensor, "*batch token"] | None = None
) -> Float[Tensor, "*batch dim"]:
    """Mean of the kept tokens; zero where none is kept.

    Example:
        >>> masked_mean(torch.tensor([[[1.0], [9.0]]]), torch.tensor([[True, False]]))
        tensor([[1.]])
    """
    if mask is None:
        return tokens.mean(-2)
    total = tokens.masked_fill(~mask[..., None], 0).sum(-2)
    return total / mask.sum(-1, keepdim=True).clamp(min=1).to(tokens.dtype)


def masked_max(
    tokens: Float[Tensor, "*batch token dim"], mask: Bool[Tensor, "*batch token"] | None = None
) -> Float[Tensor, "*batch dim"]:
    """Largest value of each feature over the kept tokens; zero where none is kept."""
    if mask is None:
        return tokens.amax(-2)
    kept = tokens.masked_fill(~mask[..., None], torch.finfo(tokens.dtype).min).amax(-2)
    return kept.masked_fill(~mask.any(-1, keepdim=True), 0)


def masked_softmax(
    scores: Float[Tensor, "*batch token"], mask: Bool[Tensor, "*#batch token"] | None = None
) -> Float[Tensor, "*batch token"]:
    """Softmax over the kept entries of the last axis, in float32 at least; zeros where none is kept."""
    # float32: in bfloat16 rows miss one by up to 0.3 %, which a diagnostic would report as signal.
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if mask is None:
        return wide.softmax(-1).to(scores.dtype)
    weights = wide.masked_fill(~mask, torch.finfo(wide.dtype).min).softmax(-1)
    return weights.masked_fill(~mask, 0).to(scores.dtype)
