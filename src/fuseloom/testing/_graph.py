"""Clauses on the graph: devices, number of operations, scalar reads, compilation and export."""

from collections import Counter
from copy import deepcopy
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from fuseloom.testing._case import Case, Layout
from fuseloom.testing._differentiate import differentiate
from fuseloom.testing._expect import FLOAT32, FLOAT64, expect, expect_close, gap
from fuseloom.testing._precision import cast, expect_autocast
from fuseloom.types import Masks, Streams, Trace

__all__ = [
    "compiles",
    "cuda_equal",
    "device_follows_input",
    "expect_same_on",
    "exports",
    "inductor_equal",
    "no_scalar_read",
    "operations_constant",
]

_READS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
_ROUNDINGS = 4
"""Gradients of ill-conditioned parts: so many times the rounding of single precision may lie between two
orders of the same sums."""
# What reshape issues instead of a view once it has copied.
_FREE = (torch.ops.aten._unsafe_view.default,)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations that are no views, those that read a value, and devices of their tensors."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: Counter[str] = Counter()
        self.reads: set[str] = set()
        self.devices: dict[str, str] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view and func not in _FREE:
            self.operations[str(func)] += 1
        if any(tag in func.tags for tag in _READS):
            self.reads.add(str(func))
        for leaf in tree_leaves((args, kwargs, out)):
            if isinstance(leaf, Tensor) and leaf.dim() > 0:
                self.devices.setdefault(leaf.device.type, str(func))
        return out


def device_follows_input(case: Case) -> None:
    """What is made in forward stands on the inputs' device; the meta device shows it without a GPU."""
    for layout in case.layouts():
        part = case.fresh(layout).to("meta")
        streams, masks = _to(layout.draw(), "meta"), _to(layout.gap_masks(), "meta")
        for given in (None, masks):
            with _Watch() as watch:
                out = case.run(part, streams, given, trace=Trace())
            foreign = {device: func for device, func in watch.devices.items() if device != "meta"}
            expect(not foreign, f"devices in forward for {layout}", "those of the inputs", foreign)
            devices = sorted({value.device.type for value in out.values()})
            expect(devices == ["meta"], f"device of the output for {layout}", "that of the inputs", devices)


def operations_constant(case: Case) -> None:
    """The number of operations depends neither on the batch nor on lengths; views are not counted."""
    for layout in case.layouts():
        part = case.fresh(layout)
        for masked in (False, True):
            small = _watch(case, part, layout.resized(3, 1), masked=masked)
            large = _watch(case, part, layout.resized(7, 6), masked=masked)
            more = {f: (small[f], large[f]) for f in small | large if small[f] != large[f]}
            expect(not more, f"operations for {layout}", "as many at any batch and length", more)


def _watch(case: Case, part: nn.Module, layout: Layout, *, masked: bool) -> Counter[str]:
    watch = _Watch()
    with torch.no_grad(), watch:
        case.run(part, layout.draw(), layout.gap_masks() if masked else None)
    return watch.operations


def no_scalar_read(case: Case) -> None:
    """No value is read back to Python in forward, and no shape depends on values."""
    for layout in case.layouts():
        part, streams, masks = case.fresh(layout), layout.draw(), layout.gap_masks()
        for given in (None, masks):
            with _Watch() as watch:
                case.run(part, streams, given, trace=Trace())
            reads = sorted(watch.reads)
            expect(not reads, f"operations for {layout}", "free of reads of values", reads)


def compiles(case: Case) -> None:
    """Compiles as one graph with unchanged output and gradients, once for all batch sizes and lengths."""
    _expect_compiled(case, "aot_eager")


def inductor_equal(case: Case) -> None:
    """The code that inductor generates gives the same output and gradients."""
    _expect_compiled(case, "inductor")


def _expect_compiled(case: Case, backend: str) -> None:
    layout = case.main_layout(most=2).resized(8, 10)
    part, compiled = case.fresh(layout), case.fresh(layout)
    torch._dynamo.reset()
    try:
        compiled.compile(fullgraph=True, dynamic=True, backend=backend)
        _expect_same(case, compiled, part, layout)
        with torch._dynamo.config.patch(error_on_recompile=True):
            _expect_same(case, compiled, part, layout.resized(9, 3))
    finally:
        torch._dynamo.reset()


def _expect_same(case: Case, compiled: nn.Module, part: nn.Module, layout: Layout) -> None:
    streams, masks = layout.draw(), layout.gap_masks()
    found, expected = differentiate(case, compiled, streams, masks), differentiate(case, part, streams, masks)
    expect_close(found.output, expected.output, f"compiled, for {layout}")
    gaps = [gap(found.inputs[name], value) for name, value in expected.inputs.items()]
    tolerance = FLOAT32
    if max(gaps) > FLOAT32:
        exact = differentiate(case, deepcopy(part).double(), cast(streams, torch.float64), masks)
        own = [gap(value, exact.inputs[name]) for name, value in expected.inputs.items()]
        tolerance = max(FLOAT32, _ROUNDINGS * max(own))
    expect_close(found.inputs, expected.inputs, f"gradient compiled, for {layout}", tolerance=tolerance)


def exports(case: Case) -> None:
    """Exports with dynamic batch and lengths, masks given and no trace; the program holds at other sizes."""
    layout = case.main_layout().resized(10, 10)
    part = case.fresh(layout)
    streams, masks, reads = _call(case, layout)
    shapes: dict[str, Any] = {
        "streams": {name: _dynamic(value, features=True) for name, value in streams.items()},
        "masks": {name: _dynamic(mask, features=False) for name, mask in masks.items()},
    }
    if reads:
        shapes["reads"] = tree_map(_automatic, reads, is_leaf=is_dataclass)
    exported = torch.export.export(part, (streams, masks), reads, dynamic_shapes=shapes)
    # torch 2.15 writes guards on variadic keywords that refer to a name it does not define.
    program = exported.module(check_guards=False)
    for size in (layout, layout.resized(4, 3), layout.resized(13, -5)):
        streams, masks, reads = _call(case, size)
        out = program(streams, masks, **reads)
        found = {"fused": out} if isinstance(out, Tensor) else out
        expect_close(found, case.run(part, streams, masks), f"exported, for {size}")


def _call(case: Case, layout: Layout) -> tuple[Streams, Masks, dict[str, Any]]:
    streams, masks = layout.draw(), layout.gap_masks()
    return streams, masks, case.reads(streams, masks) if case.reads else {}


def _automatic(value: Any) -> Any:
    """Axes that export finds out by itself; torch takes a list for the fields of a dataclass."""
    if is_dataclass(value):
        return [_automatic(leaf) for leaf in tree_leaves(value)]
    return [torch.export.Dim.AUTO] * value.dim() if isinstance(value, Tensor) else None


def _dynamic(value: Tensor, *, features: bool) -> dict[int, Any]:
    """Every axis dynamic, but for that of the features."""
    fixed = (1 if value.dim() == 4 else value.dim() - 1) if features else None
    return {axis: torch.export.Dim.DYNAMIC for axis in range(value.dim()) if axis != fixed}


def cuda_equal(case: Case) -> None:
    """On CUDA result and gradients are those of the CPU, and autocast runs in both half precisions."""
    expect_same_on(case, "cuda")


def expect_same_on(case: Case, device: str) -> None:
    """Raise unless a device gives what the CPU gives."""
    for layout in case.layouts():
        # float64 keeps TensorFloat-32 out of the comparison.
        streams, masks = cast(layout.draw(), torch.float64), layout.gap_masks()
        part = case.fresh(layout).double()
        expected = differentiate(case, part, streams, masks)
        found = differentiate(case, part.to(device), _to(streams, device), _to(masks, device))
        expect_close(
            _to(found.output, "cpu"), expected.output, f"on {device}, for {layout}", tolerance=FLOAT64
        )
        expect_close(_to(found.inputs, "cpu"), expected.inputs, f"gradient on {device}, for {layout}")
        for dtype in (torch.bfloat16, torch.float16):
            expect_autocast(case, part.float(), layout, dtype, device)


def _to(values: Streams, device: str) -> Streams:
    return {name: value.to(device) for name, value in values.items()}
