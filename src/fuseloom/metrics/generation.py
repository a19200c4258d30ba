"""How far generated pictures are, as a set, from real ones: distances between features of both."""

import torch
from jaxtyping import Float
from torch import Tensor

from fuseloom.errors import DataError, OptionError

__all__ = ["frechet_distance", "kernel_distance"]

_Features = Float[Tensor, "picture feature"]


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
    root = _root(covariance)
    between = torch.linalg.eigvalsh(root @ other @ root).clamp(min=0).sqrt().sum()
    distance = (mean - other_mean).square().sum() + covariance.trace() + other.trace() - 2 * between
    return float(distance.clamp(min=0))


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


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.mT
    return root


def _discrepancy(one: Tensor, other: Tensor) -> Tensor:
    """Without bias; both have as many rows."""
    count, width = one.shape
    within, of_other, across = (
        (left @ right.mT / width + 1) ** 3 for left, right in ((one, one), (other, other), (one, other))
    )
    pairs = within.sum() - within.trace() + of_other.sum() - of_other.trace()
    return pairs / (count * (count - 1)) - 2 * across.mean()
