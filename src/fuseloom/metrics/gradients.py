"""How the gradients of a training step are shared among modalities, and whether they pull one way."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

__all__ = ["gradient_cosine", "gradient_norm", "gradient_shares"]

Gradient = Sequence[Tensor | None]
"""Of some parameters; None where a loss does not depend on one."""


def gradient_norm(gradient: Gradient) -> float:
    """Euclidean norm over all tensors as one vector.

    Example:
        >>> gradient_norm([torch.tensor([3.0]), None, torch.tensor([[4.0]])])
        5.0
    """
    return math.sqrt(_product(gradient, gradient))


def gradient_shares(gradients: Mapping[str, Gradient]) -> dict[str, float]:
    """Share of each modality in the sum of the norms; NaN where all are zero.

    Args:
        gradients: Modality name -> gradient of one loss by the parameters of its encoder.

    Example:
        >>> gradient_shares({"text": [torch.tensor([3.0])], "image": [torch.tensor([1.0])]})
        {'text': 0.75, 'image': 0.25}
    """
    norms = {name: gradient_norm(gradient) for name, gradient in gradients.items()}
    total = sum(norms.values())
    return {name: norm / total if total > 0 else float("nan") for name, norm in norms.items()}


def gradient_cosine(first: Gradient, second: Gradient) -> float:
    """Cosine between two gradients by the same parameters: below 0 a step along one works against the other.

    NaN where one of them is zero.

    Example:
        >>> gradient_cosine([torch.tensor([1.0]), None], [torch.tensor([-2.0]), torch.tensor([0.0])])
        -1.0
    """
    scale = gradient_norm(first) * gradient_norm(second)
    return _product(first, second) / scale if scale > 0 else float("nan")


def _product(first: Gradient, second: Gradient) -> float:
    """Sum of products over what both have, in float64, as sums over many parameters need."""
    pairs = zip(first, second, strict=True)
    products = [(a.double() * b.double()).sum() for a, b in pairs if a is not None and b is not None]
    return float(torch.stack(products).sum()) if products else 0.0
