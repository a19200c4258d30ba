"""Row-wise functions whose gradient is written out, and reads what the forward kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from fuseloom.nn.rowwise import Precision, RowFunction, in_blocks

__all__ = ["RowGradient", "Sums", "with_gradient"]

Weights = Mapping[str, Tensor]


class Sums:
    """Sums over all rows, by name: gradients of weights, added up block by block."""

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}

    def product(self, name: str, gradients: Tensor, rows: Tensor) -> None:
        """Add the gradient ``[O, I]`` of a matrix, from those ``[R, O]`` of its products with ``[R, I]``."""
        if name in self.values:
            self.values[name].addmm_(gradients.T, rows)
        else:
            self.values[name] = gradients.T @ rows

    def linear(self, name: str, gradients: Tensor, rows: Tensor) -> None:
        """Add the gradients of a matrix and of ``<name>_bias``, which is added to its products."""
        self.product(name, gradients, rows)
        bias, total = f"{name}_bias", gradients.sum(0)
        self.values[bias] = self.values[bias].add_(total) if bias in self.values else total


@runtime_checkable
class RowGradient(Protocol):
    """A row-wise function and its gradient, written for speed: in place, without a graph."""

    def derive(self, weights: Weights) -> dict[str, Tensor]:
        """What rows are multiplied by, from the weights; differentiable."""

    def forward(self, rows: Sequence[Tensor], derived: Weights, out: Sequence[Tensor]) -> list[Tensor]:
        """Fill ``out`` with what the function makes of rows, and return what the backward reads."""

    def backward(
        self,
        rows: Sequence[Tensor],
        derived: Weights,
        kept: Sequence[Tensor],
        *,
        gradients: Sequence[Tensor],
        out: Sequence[Tensor],
        sums: Sums,
    ) -> None:
        """Fill ``out`` with gradients of the rows, and add those of all that is derived to ``sums``."""


def with_gradient(
    function: RowFunction,
    rows: Sequence[Tensor],
    weights: Weights,
    *,
    written: RowGradient,
    block: int | None = None,
) -> tuple[Tensor, ...]:
    """Evaluate a row-wise function block by block, forward and backward as they are written out.

    A second derivative differentiates the function itself.

    Args:
        function: The same function, made of plain steps.
        written: How it is evaluated; it makes as many outputs as there are floating rows, of their shapes.
        rows: ``[R, ...]`` each; those that are not floating come last.
        weights: What all rows share.
        block: Rows at a time; all of them by default.

    Example:
        >>> class Scale:
        ...     def derive(self, weights):
        ...         return {"square": weights["scale"].square()}
        ...     def forward(self, rows, derived, out):
        ...         torch.mul(rows[0], derived["square"], out=out[0])
        ...         return []
        ...     def backward(self, rows, derived, kept, *, gradients, out, sums):
        ...         torch.mul(gradients[0], derived["square"], out=out[0])
        ...         sums.product("square", gradients[0], rows[0])
        >>> def scale(rows, weights):
        ...     return [rows[0] * weights["scale"].square()]
        >>> weight = torch.full((1, 1), 3.0, requires_grad=True)
        >>> (out,) = with_gradient(scale, [torch.ones(5, 1)], {"scale": weight}, written=Scale(), block=2)
        >>> torch.autograd.grad(out.sum(), weight)
        (tensor([[30.]]),)
    """
    call = _Call(
        function=function,
        written=written,
        names=tuple(weights),
        rows=len(rows),
        block=max(1, rows[0].shape[0]) if block is None else block,
        keeping=torch.is_grad_enabled(),
        precision=Precision(device=rows[0].device.type, dtype=None),
    )
    outputs: tuple[Tensor, ...] = _WithGradient.apply(call, *rows, *weights.values())
    return outputs


@dataclass(frozen=True, kw_only=True)
class _Call:
    """What a call is, but for its tensors: some of rows, then the weights."""

    function: RowFunction
    written: RowGradient
    names: tuple[str, ...]
    rows: int
    block: int
    keeping: bool
    """Whether a backward may follow."""
    precision: Precision

    def split(self, tensors: Sequence[Tensor]) -> tuple[Sequence[Tensor], dict[str, Tensor]]:
        """Rows and weights."""
        return tensors[: self.rows], dict(zip(self.names, tensors[self.rows :], strict=True))

    def blocks(self, *groups: Sequence[Tensor]) -> list[list[tuple[Tensor, ...]]]:
        """Groups of tensors, cut into blocks of rows; no rows at all are one block."""
        cut = [zip(*(torch.split(value, self.block) for value in group), strict=True) for group in groups]
        return [list(block) for block in zip(*cut, strict=True)]


class _WithGradient(torch.autograd.Function):
    """Keeps the inputs and what is written to be kept."""

    @staticmethod
    def forward(ctx: Any, call: _Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.call = call
        rows, weights = call.split(tensors)
        out, kept = _like(rows), list[Tensor]()
        with call.precision.again():
            derived = call.written.derive(weights)
            for block, filled in call.blocks(rows, out):
                found = call.written.forward(block, derived, filled)
                kept += found if call.keeping else []
        ctx.save_for_backward(*tensors, *kept)
        return tuple(out)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        call, saved, needed = ctx.call, ctx.saved_tensors, ctx.needs_input_grad[1:]
        tensors, kept = saved[: len(needed)], saved[len(needed) :]
        with call.precision.again():
            if torch.is_grad_enabled():
                return (None, *_differentiable(call, tensors, gradients, needed))
            found = _as_written(call, tensors, kept, gradients)
        return (None, *(value if wanted else None for value, wanted in zip(found, needed, strict=True)))


def _like(rows: Sequence[Tensor]) -> list[Tensor]:
    return [torch.empty_like(value) for value in rows if value.is_floating_point()]


def _as_written(
    call: _Call, tensors: Sequence[Tensor], kept: Sequence[Tensor], gradients: Sequence[Tensor]
) -> list[Tensor | None]:
    rows, weights = call.split(tensors)
    with torch.enable_grad():
        leaves = {name: value.detach().requires_grad_() for name, value in weights.items()}
        graph = call.written.derive(leaves)
    derived = {name: value.detach() for name, value in graph.items()}
    out, sums = _like(rows), Sums()
    blocks = call.blocks(rows, gradients, out)
    each = len(kept) // len(blocks)
    for at, (block, given, filled) in enumerate(blocks):
        held = kept[at * each : (at + 1) * each]
        call.written.backward(block, derived, held, gradients=given, out=filled, sums=sums)
    ends = [graph[name] for name in sums.values]
    of_weights = torch.autograd.grad(
        ends, list(leaves.values()), list(sums.values.values()), allow_unused=True
    )
    return [*out, *[None] * (len(rows) - len(out)), *of_weights]


def _differentiable(
    call: _Call, tensors: Sequence[Tensor], gradients: Sequence[Tensor], needed: Sequence[bool]
) -> list[Tensor | None]:
    outputs = in_blocks(call.function, *call.split(tensors), block=call.block)
    wanted = [value for value, want in zip(tensors, needed, strict=True) if want]
    found = iter(torch.autograd.grad(outputs, wanted, gradients, allow_unused=True, create_graph=True))
    return [next(found) if want else None for want in needed]
