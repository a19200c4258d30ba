"""Polynomial fusion: a linear map of all monomials of all modalities' features."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import OptionError
from fuseloom.merge._base import Merge, Pool, pool_streams
from fuseloom.nn import PolynomialFeatures, count_monomials, masked_mean
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["Polynomial"]


@register("polynomial")
class Polynomial(Merge):
    r"""Linear map of all monomials up to a degree of all modalities' features, own powers and cross products.

    .. math:: z = W \phi([P_1 x_1; \dots; P_M x_M]), \quad \phi(u) \cdot \phi(v) = (u \cdot v / n + c)^d

    ``P_m`` is a linear map to ``width`` features, ``n`` in all, and nothing where a modality has no more than
    that: further ones would give no further monomials. The monomial of degree zero is a constant, so its
    column of ``W`` is the bias. An absent modality is zero, so the monomials of the others remain.

    With ``width=None`` this is the polynomial kernel on the concatenated modalities, by its explicit feature
    map (`fuseloom.nn.PolynomialFeatures`): a support vector machine with that kernel is a linear one on ours.
    Differs from scikit-learn's in the features, which are learned, and in the kernel's scale: there it is one
    over ``n`` times the variance of the inputs. Ours start standardised, so that the output has a variance of
    one; any other scale is a factor on the inputs.

    Args:
        dims: Modality name -> width ``D_m``.
        dim: Width of the fused value.
        width: Features of each modality; ``None`` takes them as they are.
        degree: ``d``; there are ``(n + d)! / (n! d!)`` monomials.
        constant: ``c``; the larger, the less the higher degrees count. Zero leaves only those of degree
            ``d``, and no bias.
        limit: Most values that the weight, or the monomials of one call, may have.
        pool: Makes tokens and feature maps one vector; ``None`` fuses position by position, which needs the
            same positions in all streams.

    Raises:
        OptionError: a width below one, a degree below two, a negative constant, or more monomials than the
            limit.

    Example:
        >>> merge = Polynomial({"text": 6, "audio": 4}, dim=8, width=3)
        >>> merge({"text": torch.ones(2, 6), "audio": torch.ones(2, 4)}).shape
        torch.Size([2, 8])
    """

    card = Card(
        summary="Linear map of all monomials up to a degree of all modalities' features.",
        interaction="nonlinear",
        cost="sum_m (N_m + W) D_m + K n^d / d!, with width W, n = M W features and degree d",
        parameters="per modality, and one per monomial of all",
        paper="Hessel & Lee, EMNLP 2020 (polynomial-kernel SVM)",
        code="scikit-learn/scikit-learn",
        differs="Each modality is first mapped to a few features, unless width=None.",
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        dim: int | None = None,
        *,
        width: int | None = 8,
        degree: int = 2,
        constant: float = 1.0,
        limit: int = 2**28,
        pool: Pool | None = masked_mean,
    ) -> None:
        super().__init__(dims, dim)
        _check_options(width, degree)
        self.limit = limit
        self.pool = pool
        widths = {name: size if width is None else min(size, width) for name, size in self.dims.items()}
        num = sum(widths.values())
        self._check_monomials(num, degree, constant=constant > 0)
        self.embed = nn.ModuleDict({name: _embed(self.dims[name], size) for name, size in widths.items()})
        self.monomials = PolynomialFeatures(num, degree, gamma=1 / num, constant=constant)
        # Of standardised features, all monomials together have the mean square (1 + constant)^degree.
        scale = (1 + constant) ** (-degree / 2)
        self.weight = nn.Parameter(torch.randn(self.dim, self.monomials.size) * scale)

    def _check_monomials(self, num: int, degree: int, *, constant: bool) -> None:
        count = count_monomials(num, degree, constant=constant)
        if count * self.dim > self.limit:
            raise OptionError(
                f"limit must be at least {count * self.dim:,} for {count:,} monomials of degree {degree} of "
                f"{num:,} features and dim {self.dim}, got {self.limit:,}. Pass a smaller width or degree."
            )

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        values, _ = pool_streams(streams, masks, self.pool)
        if not torch.compiler.is_compiling():  # a graph is for every batch size
            self._check_rows(values[0].shape[:-1].numel())
        features = [self.embed[name](value) for name, value in zip(self.dims, values, strict=True)]
        return F.linear(self.monomials(torch.cat(features, -1)), self.weight)

    def _check_rows(self, rows: int) -> None:
        if (needed := rows * self.monomials.size) > self.limit:
            raise OptionError(
                f"limit must be at least {needed:,} to fuse {rows:,} rows of {self.monomials.size:,} "
                f"monomials each, got {self.limit:,}. Pass fewer rows at a time, or a smaller width or "
                "degree."
            )


def _embed(width: int, features: int) -> nn.Module:
    if width == features:
        return nn.Identity()
    embed = nn.Linear(width, features, bias=False)  # with a bias an absent modality would not be zero
    nn.init.normal_(embed.weight, std=width**-0.5)
    return embed


def _check_options(width: int | None, degree: int) -> None:
    if width is not None and width < 1:
        raise OptionError(f"width must be at least 1 or None, got {width}.")
    if degree < 2:
        raise OptionError(f"degree must be at least 2, got {degree}. For degree 1 use 'concat'.")
