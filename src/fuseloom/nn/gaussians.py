"""Products of Gaussian densities."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["product_of_gaussians"]


def product_of_gaussians(
    means: Float[Tensor, "*batch expert dim"],
    log_variances: Float[Tensor, "*batch expert dim"],
    present: Bool[Tensor, "*batch expert"] | None = None,
    *,
    prior: bool = False,
) -> tuple[Float[Tensor, "*batch dim"], Float[Tensor, "*batch dim"], Float[Tensor, "*batch expert dim"]]:
    """Normalised product of independent Gaussians, feature by feature.

    The means are averaged by precision; the precisions add up. Where no expert is left, mean and
    log-variance are zero.

    Args:
        means: ``[..., M, D]``.
        log_variances: ``[..., M, D]``; any finite value.
        present: ``[..., M]``; False leaves an expert out.
        prior: Whether a standard normal is one more expert.

    Returns:
        Mean ``[..., D]``, log-variance ``[..., D]``, and each expert's share of the precision
        ``[..., M, D]``; with a prior the shares add up to less than one.

    Example:
        >>> mean, _, shares = product_of_gaussians(torch.tensor([[3.0]]), torch.zeros(1, 1), prior=True)
        >>> mean.item(), shares.item()
        (1.5, 0.5)
    """
    # Relative to the largest, and in float32 at least: in float16 a log-variance of -12 would overflow.
    log_precisions = -log_variances.to(torch.promote_types(log_variances.dtype, torch.float32))
    empty = log_precisions.new_zeros((), dtype=torch.bool)
    if present is not None:
        lowest = torch.finfo(log_precisions.dtype).min
        log_precisions = log_precisions.masked_fill(~present[..., None], lowest)
        empty = ~present.any(-1)[..., None, None]
    # Whatever the peak is, it cancels; so do its gradients.
    peak = log_precisions.detach().amax(-2, keepdim=True)
    peak = peak.clamp(min=0) if prior else peak.masked_fill(empty, 0)
    precisions = (log_precisions - peak).exp()
    rest = (-peak).exp() if prior else empty.to(peak.dtype)
    total = precisions.sum(-2, keepdim=True) + rest  # [..., 1, D]
    shares = (precisions / total).to(means.dtype)
    log_variance = -(peak + total.log()).squeeze(-2)
    return (shares * means).sum(-2), log_variance.to(means.dtype), shares
