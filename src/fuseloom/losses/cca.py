"""Canonical correlation as a loss: two modalities agree as far as linear maps can make them."""

import torch
from jaxtyping import Float
from torch import Tensor

from fuseloom.errors import DataError, MaskError, OptionError

__all__ = ["cca_loss"]


def cca_loss(
    first: Float[Tensor, "..."],
    second: Float[Tensor, "..."],
    *,
    top: int | None = None,
    ridge: float = 1e-3,
    mask: Tensor | None = None,
    faithful: bool = False,
) -> Float[Tensor, ""]:
    r"""Negative sum of the canonical correlations of two embeddings over a batch.

    .. math:: -\sum_{i=1}^{k} \sigma_i(\hat\Sigma_{11}^{-1/2} \hat\Sigma_{12} \hat\Sigma_{22}^{-1/2})

    with ``ridge`` on the diagonals of the two covariances. All correlations by default: the nuclear norm. It
    is computed in float64, and by Cholesky factors: they give the same singular values as the inverse roots,
    and their gradient stays finite where eigenvalues coincide. Rows masked out do not count; the loss is zero
    where fewer than two are left.

    Method: deep canonical correlation analysis (DCCA). Differs from the official code (MultiBench's
    ``CCALoss``): there ``ridge`` is added once more, to the squared correlations, so that none is zero;
    ``faithful`` does so. Its form for all correlations takes the root of a matrix element by element, which
    is no sum of correlations and may be NaN: it has no counterpart here.

    Args:
        first: ``[B, D_1]``.
        second: ``[B, D_2]``.
        top: Count the ``k`` largest correlations only.
        ridge: Added to the variances; in their units, so standardise what is far from unit scale.
        mask: ``[B]``, True where both modalities are there.
        faithful: Add ``ridge`` to the squared correlations as well; needs ``top``.

    Returns:
        A scalar, from ``-k`` to 0, in float32 at least.

    Raises:
        DataError: values are not ``[B, D]`` alike, or no more rows than features.
        MaskError: the mask is not boolean ``[B]``.
        OptionError: ``top`` or ``ridge`` out of range, or ``faithful`` without ``top``.

    Example:
        >>> x = torch.tensor([[-1.0], [0.0], [1.0]])
        >>> round(cca_loss(x, 3 - 2 * x, ridge=1e-9).item(), 6)
        -1.0
    """
    _check_values(first, second)
    _check_options(top, ridge, min(first.shape[1], second.shape[1]), faithful=faithful)
    keep = _check_mask(mask, first)
    one, two = _centred(first, keep), _centred(second, keep)
    freedom = (keep.sum() - 1).clamp(min=1).to(one.dtype)
    cross = one.mT @ two / freedom  # [D_1, D_2]
    half = torch.linalg.solve_triangular(_factor(one, freedom, ridge), cross, upper=False)
    whole = torch.linalg.solve_triangular(_factor(two, freedom, ridge), half.mT, upper=False)
    correlations: Tensor = torch.linalg.svdvals(whole)[:top]
    if faithful:
        # NOTE(bug-for-bug): the eigenvalues of T'T are taken with the ridge on its diagonal.
        correlations = (correlations.square() + ridge).sqrt()
    return -correlations.sum().to(torch.promote_types(first.dtype, torch.float32))


def _centred(values: Tensor, keep: Tensor) -> Tensor:
    """Deviations from the mean of the kept rows, zero elsewhere, ``[B, D]`` in float64."""
    wide = values.double().masked_fill(~keep[:, None], 0)
    mean = wide.sum(0) / keep.sum().clamp(min=1)
    return (wide - mean).masked_fill(~keep[:, None], 0)


def _factor(centred: Tensor, freedom: Tensor, ridge: float) -> Tensor:
    identity = torch.eye(centred.shape[1], dtype=centred.dtype, device=centred.device)
    lower: Tensor = torch.linalg.cholesky(centred.mT @ centred / freedom + ridge * identity)
    return lower


def _check_values(first: Tensor, second: Tensor) -> None:
    shapes = f"got {list(first.shape)} and {list(second.shape)}."
    if first.ndim != 2 or second.ndim != 2 or len(first) != len(second):
        raise DataError(f"first and second must be [B, D_1] and [B, D_2] of one batch, {shapes} Pool tokens.")
    if len(first) <= max(first.shape[1], second.shape[1]):
        raise DataError(
            f"first and second must have more rows than features, {shapes} Fewer rows correlate perfectly "
            "whatever they hold: use a larger batch, or narrower embeddings."
        )


def _check_options(top: int | None, ridge: float, width: int, *, faithful: bool) -> None:
    if top is not None and not 1 <= top <= width:
        raise OptionError(f"top must be from 1 to {width}, the narrower width, got {top}.")
    if not ridge > 0:
        raise OptionError(
            f"ridge must be above 0, got {ridge}. Without it a constant feature has no inverse."
        )
    if faithful and top is None:
        raise OptionError(
            "top must be given with faithful=True, got None. The official form for all of them is no sum of "
            "correlations."
        )


def _check_mask(mask: Tensor | None, values: Tensor) -> Tensor:
    if mask is None:
        return torch.ones(len(values), dtype=torch.bool, device=values.device)
    if mask.dtype != torch.bool or mask.shape != values.shape[:1]:
        raise MaskError(f"mask must be bool of shape [{len(values)}], got {mask.dtype} {list(mask.shape)}.")
    return mask
