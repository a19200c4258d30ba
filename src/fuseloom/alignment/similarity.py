"""Alignments of tokens that point the same way."""

import torch
from torch import Tensor
from torch.nn import functional as F

from fuseloom.errors import ModalityError, OptionError
from fuseloom.types import Alignment

__all__ = ["align_similar"]


def align_similar(
    source: Tensor,
    target: Tensor,
    *,
    top: int = 1,
    least: float = 0.0,
    source_mask: Tensor | None = None,
    target_mask: Tensor | None = None,
) -> Alignment:
    """Align each source token with the target tokens of highest cosine; the cosines are the weights.

    For encoders that were trained to agree, as CLIP's are. Weights carry gradients. Tensors only, so it may
    stand in a forward.

    Args:
        source: ``[B, N, D]``.
        target: ``[B, M, D]``.
        top: How many target tokens per source token, at most.
        least: The cosine that a pair must exceed.
        source_mask: ``[B, N]``, True = real.
        target_mask: ``[B, M]``, True = real.

    Returns:
        ``N * top`` pairs per sample, some of them holes.

    Raises:
        ModalityError: widths or samples differ.
        OptionError: ``top`` below 1, or ``least`` outside [0, 1).

    Example:
        >>> source, target = torch.tensor([[[1.0, 0], [0, 2]]]), torch.tensor([[[0.0, 1], [-1, 0]]])
        >>> pairs = align_similar(source, target)
        >>> pairs.source_index, pairs.target_index
        (tensor([[-1,  1]]), tensor([[-1,  0]]))
    """
    if top < 1 or not 0 <= least < 1:
        raise OptionError(f"top must be at least 1 and least in [0, 1), got {top} and {least}.")
    if source.shape[0] != target.shape[0] or source.shape[2] != target.shape[2]:
        raise ModalityError(
            f"source and target must agree in samples and width, got {tuple(source.shape)} and "
            f"{tuple(target.shape)}. Project both into one space first."
        )
    cosine = F.normalize(source, dim=-1) @ F.normalize(target, dim=-1).transpose(1, 2)  # [B, N, M]
    for mask, axis in ((source_mask, 2), (target_mask, 1)):
        if mask is not None:
            cosine = cosine.masked_fill(~mask.unsqueeze(axis), -1)
    weight, index = cosine.topk(min(top, target.shape[1]), -1)  # [B, N, top]
    real = weight > least
    place = torch.arange(source.shape[1], device=source.device)[:, None]
    return Alignment(
        source_index=torch.where(real, place, -1).flatten(1),
        target_index=torch.where(real, index, -1).flatten(1),
        weight=torch.where(real, weight, 0).flatten(1),
    )
