"""Cross-entropy of the pixels that are hardest to tell."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from fuseloom.errors import OptionError

__all__ = ["hard_pixel_loss"]

_LEAST = 16


def hard_pixel_loss(
    logits: Float[Tensor, "batch label row column"],
    target: Int[Tensor, "batch row column"],
    *,
    threshold: float = 0.7,
    ignore: int = 255,
) -> Float[Tensor, ""]:
    """Mean cross-entropy, in nats, of the pixels whose label is less probable than a threshold.

    Where these are fewer than a sixteenth of all labelled pixels, it is of the hardest sixteenth; zero where
    no pixel counts. No value is read back, so that a step does not wait.

    Paper: Shrivastava et al., 2016, "Training Region-based Object Detectors with Online Hard Example Mining",
    arXiv:1604.03540; the form is that of the DeLiVER and GeminiFusion code.

    Args:
        logits: ``[B, K, H, W]``.
        target: Labels ``[B, H, W]``.
        threshold: Probability in (0, 1) above which a label is told well enough.
        ignore: The label of pixels that do not count.

    Raises:
        OptionError: a threshold out of its range.

    Example:
        >>> logits = torch.tensor([4.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 4)
        >>> target = torch.tensor([[[0, 0, 1, 255]]])
        >>> hard_pixel_loss(logits, target).round(decimals=3)  # of the third pixel alone
        tensor(4.0180)
    """
    if not 0 < threshold < 1:
        raise OptionError(f"threshold must be in (0, 1), got {threshold}.")
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    losses = F.cross_entropy(wide, target, ignore_index=ignore, reduction="none").flatten()
    hard = (losses > -math.log(threshold)).sum()
    count = torch.maximum(hard, (target != ignore).sum() // _LEAST)
    hardest = losses.sort(descending=True).values
    kept = torch.arange(len(hardest), device=hardest.device) < count
    return hardest.masked_fill(~kept, 0).sum() / count.clamp(min=1)
