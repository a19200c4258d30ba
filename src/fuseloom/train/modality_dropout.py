"""Modalities left out at random in training, so that a model learns to do without any of them."""

from dataclasses import replace

import torch

from fuseloom.types import Batch

__all__ = ["drop_modalities"]


def drop_modalities(batch: Batch, p: float) -> Batch:
    """Mask each modality of each row as absent with probability ``p``, but never all that the row has.

    A modality goes where a number drawn for it from torch's global generator, evenly from 0 to 1, falls below
    ``p``; that with the largest number of those that the row has stays in any case. So of ``m`` modalities
    each goes with probability ``p - p**m / m``, and a row that would have lost all keeps one of them, each
    with the same chance. What is absent stays absent, and a batch of one modality is left as it is.

    Args:
        batch: Rows as an encoder reads them.
        p: Probability.

    Example:
        >>> rows = Batch(inputs={"text": torch.ones(4, 2), "audio": torch.ones(4, 3)})
        >>> dropped = drop_modalities(rows, 0.5)
        >>> (dropped.masks["text"] | dropped.masks["audio"]).all()
        tensor(True)
    """
    names = sorted(batch.inputs)
    if p == 0 or len(names) < 2:
        return batch
    masks = [batch.mask_of(name) for name in names]
    present = torch.stack([mask.flatten(1).any(1) if mask.dim() > 1 else mask for mask in masks], 1)
    drawn = torch.rand(present.shape, device=present.device).masked_fill(~present, -1)
    kept = (drawn >= p) | (drawn == drawn.amax(1, keepdim=True))  # [B, M]
    new = {
        name: mask & kept[:, place].view(-1, *[1] * (mask.dim() - 1))
        for place, (name, mask) in enumerate(zip(names, masks, strict=True))
    }
    return replace(batch, masks={**batch.masks, **new})
