"""Multiplicative interactions: some modalities generate the weights that are applied to another."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError, did_you_mean
from fuseloom.merge._base import Merge, Pool, pool_streams
from fuseloom.nn import masked_mean, sum_of_linears
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["Form", "MultiplicativeInteractions", "convert_multiplicative_interactions"]

# Official names of the bias and of each product's weight, in `A` and in `B`; by number of other modalities.
_OFFICIAL = {
    1: (("V", "W"), ("b", "U")),
    2: (("a.b", "a.U", "a.V", "a.W"), ("b.b", "b.U", "b.V", "b.W")),
}

Form = Literal["matrix", "scalar", "vector"]
"""What is generated: a matrix, one factor per feature, or one factor."""


class _Matrix(nn.Module):
    """Apply a generated matrix ``[..., width * dim]`` to the target."""

    def __init__(self, width: int, dim: int, *, product: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.shape = (width, dim)
        self.size = width * dim
        self.fan_in = width
        self.product = product

    def forward(self, target: Tensor, matrix: Tensor) -> Tensor:
        """``[..., width]`` to ``[..., dim]``."""
        return self.product(target, matrix.view(*matrix.shape[:-1], *self.shape))


class _Factor(nn.Module):
    """Multiply the target, brought to ``dim`` where it has another width, by a generated factor."""

    def __init__(self, width: int, dim: int, *, size: int) -> None:
        super().__init__()
        self.size = size
        self.fan_in = 1
        self.project = nn.Identity() if width == dim else nn.Linear(width, dim, bias=False)
        for weight in self.project.parameters():
            nn.init.normal_(weight, std=width**-0.5)

    def forward(self, target: Tensor, factor: Tensor) -> Tensor:
        """``[..., width]`` to ``[..., dim]``."""
        projected: Tensor = self.project(target)
        return projected * factor


@register("multiplicative_interactions")
class MultiplicativeInteractions(Merge):
    r"""Weights generated from the other modalities, applied to the first of ``dims``.

    .. math:: y = A(x_2, \dots) \circ x_1 + B(x_2, \dots)

    ``A`` and ``B`` hold every product of the other modalities: ``x W + V`` and ``x U + b`` for one, and for
    two also the product of each feature of one with each of the other. ``form`` says what ``A`` is. A
    ``matrix`` makes the whole the full bilinear (trilinear) form with its linear and constant terms; a
    ``vector`` multiplies feature by feature (FiLM with products among what generates); a ``scalar`` is one
    factor for all features. The official 3D form is ``matrix`` with ``dim`` the product of its two axes.

    An absent modality is zero: the terms without it remain, and ``B`` where the first is absent.

    Paper: Jayakumar et al. 2020. Differs from the official code: the first modality is transformed, there the
    last (its ``flip`` is the order of ``dims``); the vector and scalar forms take three modalities, and any
    ``dim``, by a linear map of the first where its width is another; every term starts with the same share of
    a unit variance and the constant at zero, there a constant has itself unit variance. With three modalities
    the official default multiplies every sample's last modality with every sample's ``A``; so does
    ``faithful``, and gives ``[B, B, dim]``: row i, column j is ``A`` of sample i on the rest of sample j. The
    official clip of gradients is ``torch.nn.utils.clip_grad_value_``.

    Args:
        dims: Modality name -> width ``D_m``; the first is transformed.
        dim: Width of the fused value.
        form: ``matrix``, ``vector`` or ``scalar``.
        clip: Lowest and highest value that an input may have; what lies beyond is clipped. With it the
            output is no longer affine in each input.
        limit: Most weights that the products may have.
        pool: Makes tokens and feature maps one vector; ``None`` fuses position by position, which needs the
            same positions in all streams.
        faithful: Mix the samples as the official three-modality default does.

    Raises:
        ModalityError: fewer than two modalities, or more than three.
        OptionError: an unknown form, an empty range to clip to, more weights than the limit, or ``faithful``
            where there is no such default.

    Example:
        >>> merge = MultiplicativeInteractions({"text": 6, "audio": 4}, dim=8, form="matrix")
        >>> merge({"text": torch.ones(2, 6), "audio": torch.ones(2, 4)}).shape
        torch.Size([2, 8])
    """

    card = Card(
        summary="Weights generated from the other modalities, applied to the first (MI).",
        interaction="multiplicative",
        cost="sum_m N_m D_m + K prod_{m>1} (D_m + 1), times D_1 in matrix form",
        parameters="per set of modalities",
        arity=(2, 3),
        paper="Jayakumar et al. 2020",
        code="pliang279/MultiBench",
        differs="The first modality is transformed, not the last; samples stay apart; terms start equal.",
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        dim: int | None = None,
        *,
        form: Form = "vector",
        clip: tuple[float, float] | None = None,
        limit: int = 2**28,
        pool: Pool | None = masked_mean,
        faithful: bool = False,
    ) -> None:
        super().__init__(dims, dim)
        _check_form(form)
        _check_clip(clip)
        if faithful:
            _check_faithful(form, len(self.dims), pool)
        self.clip = clip
        self.pool = pool
        target, *context = self.dims
        applied = _build(form, self.dims[target], self.dim, faithful=faithful)
        self.apply_to = nn.ModuleDict({target: applied})
        self.sizes = [applied.size, 1 if form == "scalar" else self.dim]
        terms = _product_sizes({name: self.dims[name] for name in context})
        self.terms = tuple(terms)
        _check_size(sum(self.sizes), terms, limit)
        spread = self._spread(applied.size, applied.fan_in)
        self.weight = nn.ParameterDict(
            {term: torch.randn(len(spread), size) * spread / math.sqrt(size) for term, size in terms.items()}
        )
        constant = torch.arange(len(spread)) < applied.size
        self.bias = nn.Parameter(torch.randn(len(spread)) * spread.squeeze(1) * constant)

    def _spread(self, size: int, fan_in: int) -> Tensor:
        """Standard deviation of each row of a term, the first ``size`` of which are ``A``'s."""
        # 2^M - 1 terms: in A one per product and the constant, in B one per product.
        spread = torch.full((sum(self.sizes), 1), (2 ** len(self.dims) - 1) ** -0.5)
        spread[:size] *= fan_in**-0.5
        return spread

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        values, present = pool_streams(streams, masks, self.pool)
        if self.clip is not None:
            values = [_clipped(value, self.clip, kept) for value, kept in zip(values, present, strict=True)]
        target, *context = values
        weights = [self.weight[term] for term in self.terms]
        generated = sum_of_linears(_products(context), weights, self.bias)
        scale, shift = torch.split(generated, self.sizes, -1)
        (apply_to,) = self.apply_to.values()
        fused: Tensor = apply_to(target, scale) + shift
        return fused


def _build(form: Form, width: int, dim: int, *, faithful: bool) -> _Matrix | _Factor:
    if form == "matrix":
        return _Matrix(width, dim, product=_across_samples if faithful else _per_sample)
    return _Factor(width, dim, size=dim if form == "vector" else 1)


def _product_sizes(dims: Mapping[str, int]) -> dict[str, int]:
    """Name and size of each product, in the order of `_products`."""
    sizes: dict[str, int] = {}
    for name, width in dims.items():
        sizes |= {name: width} | {f"{name}_from_{term}": width * size for term, size in sizes.items()}
    return sizes


def _products(values: Sequence[Tensor]) -> list[Tensor]:
    """Every product of one or more values, feature by feature."""
    products: list[Tensor] = []
    for value in values:
        outer = [(left.unsqueeze(-1) * value.unsqueeze(-2)).flatten(-2) for left in products]
        products += [value, *outer]
    return products


def _per_sample(target: Tensor, matrix: Tensor) -> Tensor:
    return (target.unsqueeze(-2) @ matrix).squeeze(-2)


def _across_samples(target: Tensor, matrix: Tensor) -> Tensor:
    # NOTE(bug-for-bug): [B, c] times [B, c, dim] pairs every sample with every other, MultiBench issue 15.
    return target @ matrix  # [B, B, dim]


def _clipped(value: Tensor, clip: tuple[float, float], present: Tensor | None) -> Tensor:
    clipped = value.clamp(*clip)
    # A range without zero would make an absent modality look present.
    return clipped if present is None else clipped.masked_fill(~present[..., None], 0)


def _check_form(form: str) -> None:
    if form not in (forms := sorted(get_args(Form))):
        raise OptionError(f"form must be one of {forms}, got {form!r}.{did_you_mean(form, forms)}")


def _check_size(size: int, terms: Mapping[str, int], limit: int) -> None:
    needed = size * sum(terms.values())
    if needed > limit:
        raise OptionError(
            f"limit must be at least {needed:,} to generate {size:,} values from {sum(terms.values()):,} "
            f"products, got {limit:,}. Make the modalities narrower, or use 'low_rank'."
        )


def _check_clip(clip: tuple[float, float] | None) -> None:
    if clip is not None and not clip[0] < clip[1]:
        raise OptionError(f"clip must be (low, high) with low < high, got {clip}.")


def _check_faithful(form: Form, num_modalities: int, pool: Pool | None) -> None:
    if form != "matrix" or num_modalities != 3 or pool is None:
        raise OptionError(
            "faithful must be False but for three pooled modalities in matrix form, got "
            f"{num_modalities} in {form} form{'' if pool else ' with pool=None'}."
        )


def convert_multiplicative_interactions(
    state: Mapping[str, Tensor], context: Sequence[str]
) -> dict[str, Tensor]:
    """State dict of `MultiplicativeInteractions` from the official layout.

    The official last modality is the first of our ``dims``. In vector and scalar form ``dim`` is its width.

    Args:
        state: ``W``, ``U``, ``V`` and ``b`` of two modalities in any form, also 3D; ``a.W`` to ``b.b`` of
            three.
        context: Names of the modalities but the official last one, in their official order.

    Returns:
        What ``MultiplicativeInteractions(dims, dim, form=...).load_state_dict`` takes.

    Raises:
        OptionError: neither one name nor two.
    """
    if len(context) not in _OFFICIAL:
        raise OptionError(f"context must have one or two names, got {list(context)}.")
    scales, shifts = _OFFICIAL[len(context)]
    terms = ("bias", *(f"weight.{term}" for term in _product_sizes(dict.fromkeys(context, 1))))
    joined = {}
    for term, scale, shift in zip(terms, scales, shifts, strict=True):
        # The modalities' own axes come first; a bias has none.
        axes = 0 if term == "bias" else 2 if "_from_" in term else 1
        parts = [_columns(state[key], axes) for key in (scale, shift)]
        joined[term] = torch.cat(parts)
    return {term: value.squeeze(1) if term == "bias" else value for term, value in joined.items()}


def _columns(weight: Tensor, axes: int) -> Tensor:
    """``[outputs, inputs]`` of a tensor whose first ``axes`` are inputs."""
    return weight.reshape(math.prod(weight.shape[:axes]), -1).T
