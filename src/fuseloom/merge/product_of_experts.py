"""Product of experts: each modality is a Gaussian belief, and the beliefs are multiplied."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.merge._base import Merge, Pool, pool_streams
from fuseloom.nn import linear_each, masked_mean, product_of_gaussians, stack_masks
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["ProductOfExperts"]


@register("product_of_experts")
class ProductOfExperts(Merge):
    r"""Mean of the product of one Gaussian per modality that is there, and of a standard normal prior.

    .. math:: z = \frac{\sum_{m \in P} T_m \odot \mu_m}{1 + \sum_{m \in P} T_m}, \quad
        (\mu_m, \log T_m^{-1}) = W_m x_m + b_m, \quad P = \{m : x_m \text{ is present}\}

    The surer an expert is of a feature, the more that feature follows it. An absent modality has precision
    zero; a sample without any gives the prior's mean, zero. Without ``prior`` the one in the denominator
    goes, and a sample without any modality still gives zeros. The log-variances start at zero, so that all
    experts are trusted alike, and the means so that the product has variance one for standardised inputs.

    Differs from the official code: there the experts' means and log-variances come from the user's encoders,
    and 1e-8 is added to each variance; here precisions are weighed as logarithms in float32 at least, so that
    no log-variance needs a limit in any precision.

    Args:
        dims: Modality name -> width ``D_m``.
        dim: Width of the mean.
        prior: Whether a standard normal is one of the experts.
        pool: Makes tokens and feature maps one vector; ``None`` fuses position by position, which needs the
            same positions in all streams.

    Records:
        ``gate``: each modality's share of the precision ``[..., dim, M]``, the rest is the prior's;
        ``log_variance``: of the product, ``[..., dim]``.

    Example:
        >>> merge = ProductOfExperts({"text": 6, "audio": 4}, dim=2)
        >>> trace = Trace()
        >>> streams = {"text": torch.ones(1, 6), "audio": torch.ones(1, 4)}
        >>> fused = merge(streams, {"audio": torch.tensor([False])}, trace=trace)
        >>> trace.records["gate"]
        tensor([[[0.5000, 0.0000],
                 [0.5000, 0.0000]]])
    """

    card = Card(
        summary="Mean of the product of one Gaussian per present modality and a prior.",
        interaction="nonlinear",
        cost="sum_m N_m D_m + 2 K sum_m D_m + K M",
        parameters="per modality",
        level="output",
        symmetric=True,
        code="pliang279/MultiBench",
        differs="Experts are linear maps of the streams; no 1e-8 is added to the variances.",
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        dim: int | None = None,
        *,
        prior: bool = True,
        pool: Pool | None = masked_mean,
    ) -> None:
        super().__init__(dims, dim)
        self.prior = prior
        self.pool = pool
        num = len(self.dims)
        self.expert = linear_each(self.dims, 2 * self.dim, gain=(num + prior) / math.sqrt(num))
        for name in self.dims:
            nn.init.zeros_(self.get_parameter(f"expert.{name}.weight")[self.dim :])

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        values, present = pool_streams(streams, masks, self.pool)
        beliefs = [self.expert[name](value) for name, value in zip(self.dims, values, strict=True)]
        means, log_variances = torch.stack(beliefs, -2).chunk(2, -1)  # [..., M, dim]
        mean, log_variance, shares = product_of_gaussians(
            means, log_variances, stack_masks(present), prior=self.prior
        )
        if trace is not None:
            trace.record("gate", shares.mT)
            trace.record("log_variance", log_variance)
        return mean
