"""One linear embedding per name, and which of them count."""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor, nn

__all__ = ["linear_each", "stack_masks"]


def linear_each(
    widths: Mapping[str, int], dim: int, *, gain: float = 1.0, bias: float = 0.0
) -> nn.ModuleDict:
    """One linear map to ``dim`` features per name, started for standardised inputs.

    Args:
        widths: Name -> width of its input.
        dim: Width of every output.
        gain: Standard deviation of each output about ``bias``.
        bias: Where every bias starts.

    Example:
        >>> sorted(linear_each({"text": 6, "audio": 4}, 8).state_dict())
        ['audio.bias', 'audio.weight', 'text.bias', 'text.weight']
    """
    linears = {name: nn.Linear(width, dim) for name, width in widths.items()}
    for linear in linears.values():
        nn.init.normal_(linear.weight, std=gain / math.sqrt(linear.in_features))
        nn.init.constant_(linear.bias, bias)
    return nn.ModuleDict(linears)


def stack_masks(masks: Sequence[Bool[Tensor, "*batch"] | None]) -> Bool[Tensor, "*batch name"] | None:
    """Masks side by side on a last axis; None, which keeps everything, only where all of them are None.

    Example:
        >>> stack_masks([torch.tensor([False, True]), None])
        tensor([[False,  True],
                [ True,  True]])
    """
    given = next((mask for mask in masks if mask is not None), None)
    if given is None:
        return None
    return torch.stack([torch.ones_like(given) if mask is None else mask for mask in masks], -1)
