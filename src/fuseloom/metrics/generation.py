"""How far generated pictures are, as a set, from real ones: distances between features of both."""

import math

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fuseloom.errors import DataError, OptionError

__all__ = ["frechet_distance", "frechet_of_sums", "frechet_sums", "kernel_distance", "random_features"]

_Features = Float[Tensor, "picture feature"]
_WIDTHS = (32, 64, 64)
"""Of the random network, whose last maps are the features."""
_AT_ONCE = 2**22
"""Numbers of pictures that are looked at together."""


def frechet_distance(found: _Features, real: _Features) -> float:
    r"""Distance of two sets of features, as if each were normally distributed: FID, if they are Inception's.

    .. math:: |\mu - \mu'|^2 + \operatorname{tr}\bigl(\Sigma + \Sigma' - 2 (\Sigma \Sigma')^{1/2}\bigr)

    With fewer pictures than features it is biased upwards: then compare only sets of one size.

    Paper: Heusel et al., 2017, arXiv:1706.08500. Differs from the usual code: the trace of the root comes
    from the eigenvalues of a symmetric product, so that it needs no small number on the diagonal.

    Args:
        found: Of generated pictures ``[N, D]``, by any network.
        real: ``[M, D]``, by the same network.

    Raises:
        DataError: features of other widths, or fewer than two pictures.

    Example:
        >>> one = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
        >>> round(frechet_distance(one + torch.tensor([3.0, 4.0]), one), 6)
        25.0
    """
    (mean, covariance), (other_mean, other) = (_moments(each) for each in _checked(found, real))
    return float(_frechet(mean, covariance, other_mean, other))


def frechet_sums(found: _Features, real: _Features) -> NDArray[np.float64]:
    """What `frechet_of_sums` needs of each pair of pictures, ``[N, 1 + 2 * (D + D * D)]``.

    Args:
        found: As of `frechet_distance`.
        real: Of as many pictures.
    """
    parts = [torch.ones(len(found), 1, dtype=torch.float64)]
    for each in (found, real):
        one = each.double().cpu()
        parts += [one, torch.einsum("ni,nj->nij", one, one).flatten(1)]
    return torch.cat(parts, 1).numpy()


def frechet_of_sums(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """`frechet_distance` from sums over rows ``[..., 1 + 2 * (D + D * D)]``; NaN of fewer than two rows.

    Example:
        >>> one = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
        >>> float(frechet_of_sums(frechet_sums(one + torch.tensor([3.0, 4.0]), one).sum(0)).round(6))
        25.0
    """
    flat = torch.from_numpy(np.asarray(sums, dtype=np.float64)).reshape(-1, sums.shape[-1])
    count, width = flat[:, :1], (math.isqrt(2 * sums.shape[-1] - 1) - 1) // 2
    moments = []
    for own in flat[:, 1:].chunk(2, dim=1):
        mean, squares = own[:, :width] / count, torch.unflatten(own[:, width:], 1, (width, width))
        spread = squares - count[..., None] * torch.einsum("ri,rj->rij", mean, mean)
        moments += [mean, spread / (count[..., None] - 1).clamp(min=1)]
    distances = torch.where(count[:, 0] > 1, _frechet(*(one.nan_to_num() for one in moments)), torch.nan)
    return distances.reshape(sums.shape[:-1]).numpy()


def random_features(pictures: Float[Tensor, "picture channel height width"]) -> _Features:
    """Features ``[N, 64]`` of pictures from -1 to 1, by three convolutions whose weights are always the same.

    The weights are drawn once and for all. So sets of pictures are compared without any weights to download;
    such distances rank models on one set, and compare with no other network's.

    Example:
        >>> random_features(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 64])
    """
    generator, into, weights = torch.Generator().manual_seed(0), pictures.shape[1], []
    for width in _WIDTHS:
        drawn = torch.randn(width, into, 3, 3, generator=generator)
        weights.append((drawn * (2 / (9 * into)) ** 0.5).to(pictures))
        into = width
    step = max(1, _AT_ONCE // max(1, pictures[:1].numel()))
    return torch.cat([_seen(part, weights) for part in torch.split(pictures, step)])


def _seen(pictures: Tensor, weights: list[Tensor]) -> Tensor:
    for weight in weights:
        pictures = F.conv2d(pictures, weight, stride=2, padding=1).relu()
    return pictures.mean((2, 3))


def kernel_distance(
    found: _Features, real: _Features, *, subsets: int = 50, size: int = 1000, seed: int = 0
) -> float:
    r"""Squared maximum mean discrepancy of two sets of features under a cubic kernel: KID, if Inception's.

    The kernel is :math:`(x \cdot y / D + 1)^3`. It is the mean over subsets; zero is expected of two sets
    that are alike, so that it may be negative. Papers state it times 100, or times 1,000.

    Paper: Bińkowski et al., 2018, arXiv:1801.01401.

    Args:
        found: Of generated pictures ``[N, D]``, by any network.
        real: ``[M, D]``, by the same network.
        subsets: How many are drawn, without replacement; one where each is the whole of both sets.
        size: Pictures of a subset, at most the smaller of both sets.
        seed: Of what is drawn.

    Raises:
        DataError: features of other widths, or fewer than two pictures.
        OptionError: no subsets, or of fewer than two pictures.

    Example:
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <...>
        >>> real = torch.randn(400, 8)
        >>> abs(kernel_distance(torch.randn(400, 8), real)) < 0.02 < kernel_distance(real + 1, real)
        True
    """
    if subsets < 1 or size < 2:
        raise OptionError(f"subsets must be 1 or more, and size 2 or more, got {subsets} and {size}.")
    one, other = _checked(found, real)
    count = min(size, len(one), len(other))
    if count == len(one) == len(other):
        return float(_discrepancy(one, other))
    generator = torch.Generator().manual_seed(seed)
    drawn = [
        _discrepancy(*(each[torch.randperm(len(each), generator=generator)[:count]] for each in (one, other)))
        for _ in range(subsets)
    ]
    return float(torch.stack(drawn).mean())


def _checked(found: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Both in double precision, on the CPU."""
    if found.dim() != 2 or real.dim() != 2 or found.shape[1] != real.shape[1]:
        raise DataError(
            f"Features must be [N, D] and [M, D], got {tuple(found.shape)} and {tuple(real.shape)}."
        )
    if min(len(found), len(real)) < 2:
        raise DataError(f"There must be two pictures or more of each, got {len(found)} and {len(real)}.")
    return found.double().cpu(), real.double().cpu()


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    centred = features - features.mean(0)
    return features.mean(0), centred.mT @ centred / (len(features) - 1)


def _frechet(mean: Tensor, covariance: Tensor, other_mean: Tensor, other: Tensor) -> Tensor:
    """Of moments ``[..., D]`` and ``[..., D, D]``."""
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp(min=0).sqrt()[..., None, :]) @ vectors.mT
    between = torch.linalg.eigvalsh(root @ other @ root).clamp(min=0).sqrt().sum(-1)
    traces = (one.diagonal(dim1=-2, dim2=-1).sum(-1) for one in (covariance, other))
    distance: Tensor = (mean - other_mean).square().sum(-1) + sum(traces) - 2 * between
    return distance.clamp(min=0)


def _discrepancy(one: Tensor, other: Tensor) -> Tensor:
    """Without bias; both have as many rows."""
    count, width = one.shape
    within, of_other, across = (
        (left @ right.mT / width + 1) ** 3 for left, right in ((one, one), (other, other), (one, other))
    )
    pairs = within.sum() - within.trace() + of_other.sum() - of_other.trace()
    return pairs / (count * (count - 1)) - 2 * across.mean()
