"""Tensor fusion: a linear map of the outer product of all modalities."""

import math
from collections.abc import Mapping
from functools import partial, reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from fuseloom.errors import OptionError
from fuseloom.merge._base import Merge, Pool, pool_streams
from fuseloom.nn import masked_mean
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["TensorProduct", "convert_tensor"]


@register("tensor")
class TensorProduct(Merge):
    r"""Linear map of the outer product of all modalities, each with a constant appended.

    .. math:: z = W \, \mathrm{vec}([x_1; 1] \otimes \dots \otimes [x_M; 1])

    The product of all constants is one, so its column of ``W`` is the bias. The sum over the first modality
    is taken last, so only the product of the others exists, ``P = prod_{m > 1} (D_m + 1)`` values, and
    ``(D_1 + 1) dim`` partial sums: name the widest modality first. An absent modality contributes ``[0; 1]``,
    so the interactions of the others remain.

    Paper: Zadeh et al. EMNLP 2017. It differs from the official code in three ways. The constant stands last,
    not first, and the bias is a column of the weight: `convert_tensor` sees to both. And the start: PyTorch's
    default treats all monomials alike, so that nearly all of the output comes from the product of all
    modalities and goes with any of them; here each subset of the modalities contributes the same share of a
    variance of one for standardised inputs. Behind it the official model has dropout and a head, which are
    the user's to choose.

    Args:
        dims: Modality name -> width ``D_m``.
        dim: Width of the fused value.
        chunk: How many features of the first modality are contracted at a time; the partial sums are then
            computed again in the backward rather than kept. ``None`` takes all at once.
        limit: Most values that the weight, or the intermediate results of one call, may have.
        pool: Makes tokens and feature maps one vector; ``None`` fuses position by position, which needs the
            same positions in all streams.

    Raises:
        ModalityError: fewer than two modalities.
        OptionError: a chunk below one, or a product too large for the limit.

    Example:
        >>> merge = TensorProduct({"text": 6, "audio": 4}, dim=8)
        >>> merge({"text": torch.ones(2, 6), "audio": torch.ones(2, 4)}).shape
        torch.Size([2, 8])
    """

    card = Card(
        summary="Linear map of the outer product of all modalities, ones appended (TFN).",
        interaction="multiplicative",
        cost="sum_m N_m D_m + K prod_m (D_m + 1)",
        parameters="shared, one per product of their features",
        arity=(2, None),
        paper="Zadeh et al. EMNLP 2017",
        code="Justin1904/TensorFusionNetworks",
        differs="The constant stands last, its product is the bias; every subset of modalities starts equal.",
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        dim: int | None = None,
        *,
        chunk: int | None = None,
        limit: int = 2**28,
        pool: Pool | None = masked_mean,
    ) -> None:
        super().__init__(dims, dim)
        if chunk is not None and chunk < 1:
            raise OptionError(f"chunk must be at least 1 or None, got {chunk}.")
        self.chunk = chunk
        self.limit = limit
        self.pool = pool
        self._check_product()
        self.weight = nn.Parameter(self._start())

    def _check_product(self) -> None:
        sizes = [width + 1 for width in self.dims.values()]
        product = math.prod(sizes)
        if product * self.dim > self.limit:
            raise OptionError(
                f"limit must be at least {product * self.dim:,} for a product of "
                f"{' x '.join(map(str, sizes))} = {product:,} values and dim {self.dim}, got {self.limit:,}. "
                "Make the modalities narrower, or use 'low_rank'."
            )

    def _start(self) -> Tensor:
        # The scales multiply, so that a subset's monomials together have the variance 2 ** -M.
        first, *others = (
            torch.tensor([1 / math.sqrt(2 * width)] * width + [math.sqrt(0.5)])
            for width in self.dims.values()
        )
        rest = reduce(torch.kron, others)
        return torch.randn(len(first), self.dim, len(rest)) * first[:, None, None] * rest  # [D + 1, dim, P]

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        values, _ = pool_streams(streams, masks, self.pool)
        if not torch.compiler.is_compiling():  # a graph is for every batch size
            self._check_rows(values[0].shape[:-1].numel())
        first, *others = (_with_one(value.flatten(0, -2)) for value in values)
        rest = reduce(_outer, others)  # [rows, P]
        fused = _contract(first, rest, self.weight) if self.chunk is None else self._in_chunks(first, rest)
        return fused.view(*values[0].shape[:-1], self.dim)

    def _check_rows(self, rows: int) -> None:
        first, _, rest = self.weight.shape
        at_once = first if self.chunk is None else min(first, self.chunk)
        needed = rows * (rest + at_once * self.dim)
        if needed > self.limit:
            raise OptionError(
                f"limit must be at least {needed:,} to fuse {rows} rows whose product has {first * rest:,} "
                f"values each, got {self.limit:,}. Pass fewer rows at a time, or a smaller chunk."
            )

    def _in_chunks(self, first: Tensor, rest: Tensor) -> Tensor:
        assert self.chunk is not None
        # One split rather than slices: each slice's gradient would be as large as the whole weight.
        pairs = zip(torch.split(first, self.chunk, 1), torch.split(self.weight, self.chunk), strict=True)
        again = partial(checkpoint, _contract, use_reentrant=False, preserve_rng_state=False)
        fused: Tensor = reduce(add, (again(part, rest, weight) for part, weight in pairs))
        return fused


def _with_one(value: Tensor) -> Tensor:
    return F.pad(value, (0, 1), value=1.0)  # [rows, D + 1]


def _outer(left: Tensor, right: Tensor) -> Tensor:
    return (left.unsqueeze(-1) * right.unsqueeze(-2)).flatten(-2)


def _contract(first: Tensor, rest: Tensor, weight: Tensor) -> Tensor:
    """Sum over both axes of ``[C, dim, P]`` against ``[rows, C]`` and ``[rows, P]``; ``[rows, dim]``."""
    partial_sums = F.linear(rest, weight.flatten(0, 1)).view(-1, *weight.shape[:2])  # [rows, C, dim]
    return torch.bmm(first.unsqueeze(1), partial_sums).squeeze(1)


def convert_tensor(weight: Tensor, bias: Tensor, dims: Mapping[str, int]) -> dict[str, Tensor]:
    """State dict of `TensorProduct` from a linear map of the official product (TFN, and MultiBench's).

    There a constant stands first in every modality, and the last modality varies fastest.

    Args:
        weight: ``[dim, prod (D_m + 1)]``, as in ``nn.Linear``.
        bias: ``[dim]``.
        dims: Modality name -> width ``D_m``, in the order of the product.

    Returns:
        What ``TensorProduct(dims, dim).load_state_dict`` takes.

    Raises:
        OptionError: the columns of ``weight`` are not those of ``dims``.
    """
    sizes = [width + 1 for width in dims.values()]
    if weight.dim() != 2 or weight.shape[1] != math.prod(sizes):
        raise OptionError(
            f"weight must have shape [dim, {math.prod(sizes)}], the product of dims with a constant each, "
            f"got {list(weight.shape)}."
        )
    axes = list(range(1, len(sizes) + 1))
    moved = weight.reshape(-1, *sizes).roll([-1] * len(axes), axes).flatten(2)  # [dim, D + 1, P]
    converted = moved.transpose(0, 1).clone(memory_format=torch.contiguous_format)
    converted[-1, :, -1] += bias
    return {"weight": converted}
