"""Row-wise functions evaluated block by block, and again in the backward rather than kept."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Precision", "RowFunction", "cached_rows", "in_blocks"]

RowFunction = Callable[[Sequence[Tensor], Mapping[str, Tensor]], Sequence[Tensor]]
"""Tensors of ``R`` rows, and weights, to tensors of ``R`` rows; a row depends on no other row."""

# Measured: larger blocks leave the cache, smaller ones are dominated by the number of calls.
_CACHED_BYTES = 2**20
_FEWEST_ROWS = 1024


def cached_rows(like: Tensor) -> int | None:
    """Rows ``[R, D]`` that are best taken at a time: those that stay in a core's cache; None for all at once.

    Example:
        >>> cached_rows(torch.empty(100_000, 64))
        4096
    """
    if like.device.type != "cpu":
        return None
    return max(_FEWEST_ROWS, _CACHED_BYTES // max(1, like.shape[-1] * like.element_size()))


def in_blocks(
    function: RowFunction, rows: Sequence[Tensor], weights: Mapping[str, Tensor], *, block: int | None = None
) -> tuple[Tensor, ...]:
    """Evaluate a row-wise function block by block; between forward and backward only its inputs are kept.

    The backward evaluates each block again. Beside inputs and outputs both need the memory of one block, and
    where that is a core's cache, a chain of elementwise steps costs little beside its matrix products. While
    a graph is captured the function is applied once to all rows: compilers fuse by themselves.

    Args:
        function: Makes outputs of rows; every tensor that it depends on is among its arguments.
        rows: ``[R, ...]`` each.
        weights: What all rows share.
        block: Rows at a time; all of them by default.

    Example:
        >>> def scale(rows, weights):
        ...     return [rows[0] * weights["scale"]]
        >>> weight = torch.tensor(2.0, requires_grad=True)
        >>> (out,) = in_blocks(scale, [torch.arange(5.0)], {"scale": weight}, block=2)
        >>> torch.autograd.grad(out.sum(), weight)
        (tensor(10.),)
    """
    if torch.compiler.is_compiling():
        return tuple(function(rows, weights))
    call = _Call(
        function=function,
        names=tuple(weights),
        rows=len(rows),
        block=max(1, rows[0].shape[0]) if block is None else block,
        precision=Precision.current(rows[0].device.type),
    )
    outputs: tuple[Tensor, ...] = _InBlocks.apply(call, *rows, *weights.values())
    return outputs


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Autocast as it was in the forward, so that the backward computes the same."""

    device: str
    dtype: torch.dtype | None
    """None where autocast is off."""

    @classmethod
    def current(cls, device: str) -> "Precision":
        """As it is now, for a type of device."""
        active = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        return cls(device=device, dtype=torch.get_autocast_dtype(device) if active else None)

    def again(self) -> AbstractContextManager[Any]:
        """Within, it is as it was."""
        if not torch.amp.is_autocast_available(self.device):
            return nullcontext()
        # No cache: what the forward, which records no gradient, casts would never get one in the backward.
        enabled = self.dtype is not None
        return torch.autocast(self.device, dtype=self.dtype, enabled=enabled, cache_enabled=False)


@dataclass(frozen=True, kw_only=True)
class _Call:
    """What a call is, but for its tensors: some of rows, then the weights."""

    function: RowFunction
    names: tuple[str, ...]
    rows: int
    block: int
    precision: Precision

    def places(self, tensors: Sequence[Tensor]) -> Iterator[slice]:
        """Where the blocks are; no rows at all are one block."""
        total = tensors[0].shape[0]
        return (slice(at, min(at + self.block, total)) for at in range(0, max(total, 1), self.block))

    def inputs(self, tensors: Sequence[Tensor], place: slice) -> list[Tensor]:
        """The tensors with the rows of one block."""
        return [*(tensor[place] for tensor in tensors[: self.rows]), *tensors[self.rows :]]

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        weights = dict(zip(self.names, inputs[self.rows :], strict=True))
        with self.precision.again():
            return self.function(inputs[: self.rows], weights)


class _InBlocks(torch.autograd.Function):
    """Keeps the inputs; a second derivative differentiates the backward, which is made of plain steps."""

    @staticmethod
    def forward(ctx: Any, call: _Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.call = call
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        found = _Assembly(tensors[0].shape[0])
        for place in call.places(tensors):
            found.put(place, call(call.inputs(tensors, place)))
        return tuple(value for value in found.values if value is not None)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        call, tensors = ctx.call, ctx.saved_tensors
        needed = [i for i, wanted in enumerate(ctx.needs_input_grad[1:]) if wanted]
        of_rows = sum(i < call.rows for i in needed)
        rows, weights = _Assembly(tensors[0].shape[0]), list[Tensor | None]()
        for place in call.places(tensors):
            block = [None if gradient is None else gradient[place] for gradient in gradients]
            found = _differentiate(call, tensors, place, needed=needed, gradients=block)
            rows.put(place, found[:of_rows])
            weights = _add(weights, found[of_rows:])
        out = dict(zip(needed, [*rows.values, *weights], strict=True))
        return (None, *(out.get(i) for i in range(len(tensors))))


def _differentiate(
    call: _Call,
    tensors: Sequence[Tensor],
    place: slice,
    *,
    needed: Sequence[int],
    gradients: Sequence[Tensor | None],
) -> Sequence[Tensor | None]:
    twice = torch.is_grad_enabled()
    with torch.enable_grad():
        inputs = call.inputs(tensors, place)  # or its slices would have no gradient
        outputs = call(inputs)
    pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if g is not None and o.requires_grad]
    return torch.autograd.grad(
        [output for output, _ in pairs],
        [inputs[i] for i in needed],
        [gradient for _, gradient in pairs],
        allow_unused=True,
        create_graph=twice,
    )


class _Assembly:
    """Blocks of rows put together, in memory that is taken once; a single block is taken as it is."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.values: list[Tensor | None] = []

    def put(self, place: slice, parts: Sequence[Tensor | None]) -> None:
        """Add what one block gave."""
        if place == slice(0, self.rows):
            self.values = list(parts)
            return
        if not self.values:
            self.values = [None if p is None else p.new_empty(self.rows, *p.shape[1:]) for p in parts]
        for whole, part in zip(self.values, parts, strict=True):
            if whole is not None and part is not None:
                whole[place] = part


def _add(totals: Sequence[Tensor | None], parts: Sequence[Tensor | None]) -> list[Tensor | None]:
    if not totals:
        return list(parts)
    return [p if t is None or p is None else t + p for t, p in zip(totals, parts, strict=True)]
