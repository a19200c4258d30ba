"""Clauses on values: what comes out, and what it may depend on."""

from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.testing._case import Case, Layout
from fuseloom.testing._expect import expect, expect_close, expect_equal, expect_finite, gap
from fuseloom.testing._walk import fingerprint, same_fingerprint
from fuseloom.types import Masks, Streams, Trace

__all__ = [
    "calls_do_not_interact",
    "inputs_not_modified",
    "modalities_talk",
    "order_irrelevant",
    "samples_independent",
    "shape_and_dtype",
    "trace_changes_nothing",
]


def shape_and_dtype(case: Case) -> None:
    """Names, shapes and dtypes of the result are those promised, for all ranks and numbers of modalities."""
    for layout in case.all_layouts():
        part = case.build(dict(layout.dims)).eval()
        for masks in (None, layout.draw_masks()):
            expect_shapes(case, part, layout, case.run(part, layout.draw(), masks))


def expect_shapes(case: Case, part: nn.Module, layout: Layout, output: Streams) -> None:
    """Raise unless the output is what the contract promises for this layout."""
    expect_finite(output, f"for {layout}")
    for name, value in output.items():
        allowed = _allowed_shapes(case, part, layout, name)
        shape = tuple(value.shape)
        expect(shape in allowed, f"shape of {name} for {layout}", " or ".join(map(str, allowed)), shape)
        expect(value.dtype == torch.float32, f"dtype of {name} for {layout}", "torch.float32", value.dtype)


def _allowed_shapes(case: Case, part: nn.Module, layout: Layout, name: str) -> list[tuple[int, ...]]:
    if case.kind == "exchange":
        return [layout.shape(name)]
    dim: Any = part.dim
    pooled = (layout.batch, dim)
    kept = layout.shape(next(iter(layout.dims)), dim)
    return [pooled, kept] if case.aligned and kept != pooled else [pooled]


def order_irrelevant(case: Case) -> None:
    """The order of the streams and masks dicts has no effect on any bit of the result."""
    for layout in case.layouts():
        part, streams, masks = case.fresh(layout), layout.draw(), layout.gap_masks()
        turned = case.run(part, dict(reversed(streams.items())), dict(reversed(masks.items())))
        expect_equal(turned, case.run(part, streams, masks), f"with the dicts reversed, for {layout}")


def samples_independent(case: Case) -> None:
    """In evaluation a sample's result depends on no other sample, and a batch of one equals its row."""
    for layout in case.layouts():
        part, streams = case.fresh(layout), layout.draw()
        for masks in (None, layout.gap_masks()):
            whole = case.run(part, streams, masks)
            changed = {name: _with_row(value, 1, value[1] * 50 + 3) for name, value in streams.items()}
            rest = [0, *range(2, layout.batch)]
            moved = _rows(case.run(part, changed, masks), rest)
            expect_close(moved, _rows(whole, rest), f"after a change of another sample, for {layout}")
            for row in range(layout.batch):
                alone = case.run(part, _rows(streams, [row]), None if masks is None else _rows(masks, [row]))
                expect_close(alone, _rows(whole, [row]), f"of a sample alone, for {layout}")


def _rows(values: Streams, rows: list[int]) -> Streams:
    return {name: value[rows] for name, value in values.items()}


def _with_row(value: Tensor, row: int, new: Tensor) -> Tensor:
    changed = value.clone()
    changed[row] = new
    return changed


def calls_do_not_interact(case: Case) -> None:
    """A call leaves nothing behind; in training nothing but buffers."""
    layout = case.main_layout()
    part, first, other = case.fresh(layout), layout.draw(), layout.resized(3, 2)
    expected, before = case.run(part, first), fingerprint(part)
    case.run(part, other.draw(1), other.gap_masks(1))
    expect_equal(case.run(part, first), expected, "after a call on other values")
    changed = same_fingerprint(before, fingerprint(part))
    expect(not changed, "part after a call in evaluation", "as before", f"changes of {changed}")
    part.train()
    before = fingerprint(part)
    case.run(part, first, trace=Trace())
    buffers = {name for name, _ in part.named_buffers()}
    changed = [path for path in same_fingerprint(before, fingerprint(part)) if path not in buffers]
    expect(not changed, "part after a call in training", "as before but for buffers", f"changes of {changed}")


def inputs_not_modified(case: Case) -> None:
    """Values, masks and their dicts are as they were before the call."""
    for layout in case.layouts():
        part, streams, masks = case.fresh(layout), layout.draw(), layout.gap_masks()
        held = {"streams": (streams, _copies(streams)), "masks": (masks, _copies(masks))}
        case.run(part, streams, masks)
        for what, (after, (ids, copies)) in held.items():
            same = [(name, id(value)) for name, value in after.items()] == ids
            expect(same, f"{what} dict after the call", "untouched", sorted(after))
            expect_equal(after, copies, f"among the {what} after the call, for {layout}")


def _copies(values: Streams | Masks) -> tuple[list[tuple[str, int]], Streams]:
    ids = [(name, id(value)) for name, value in values.items()]
    return ids, {name: value.clone() for name, value in values.items()}


def trace_changes_nothing(case: Case) -> None:
    """A trace changes no output, and what is filed in it is what a training step can use.

    Records are detached; losses, and what feedbacks make of the losses of the samples, are scalars with a
    gradient; predictions are ``[B, K]`` with a gradient. All are finite, and filed under the scope given.
    """
    for layout in case.layouts():
        part, streams, masks = case.fresh(layout), layout.draw(), layout.gap_masks()
        for given in (None, masks):
            trace = Trace()
            traced = case.run(part, streams, given, trace=trace.scope("outer"))
            _expect_trace(trace, layout.batch)
            expect_close(traced, case.run(part, streams, given), f"under a trace, for {layout}")
            once = _names(trace)
            case.run(part, streams, given, trace=trace.scope("outer"))
            twice = _names(trace)
            expect(once == twice, "names in a trace after a second forward", str(sorted(once)), sorted(twice))
        trace = Trace()
        case.run(part.train(), streams, masks, trace=trace.scope("outer"))
        _expect_trace(trace, layout.batch)


def _names(trace: Trace) -> set[str]:
    return {*trace.records, *trace.losses, *trace.predictions, *trace.feedbacks}


def _expect_trace(trace: Trace, rows: int) -> None:
    for name, value in trace.records.items():
        expect(not value.requires_grad, f"record {name}", "detached", "one with a gradient")
    learnt = {name: function(torch.rand(rows)) for name, function in trace.feedbacks.items()}
    for name, value in {**trace.losses, **learnt}.items():
        expect(value.dim() == 0, f"loss {name}", "a scalar", f"shape {tuple(value.shape)}")
        expect(value.requires_grad, f"loss {name}", "differentiable", "one without a gradient")
    for name, value in trace.predictions.items():
        shape = tuple(value.shape)
        expect(len(shape) == 2 and shape[0] == rows, f"prediction {name}", f"shape ({rows}, K)", f"{shape}")
        expect(value.requires_grad, f"prediction {name}", "differentiable", "one without a gradient")
    expect_finite({**trace.records, **trace.losses, **learnt, **trace.predictions}, "in the trace")
    outside = sorted(name for name in _names(trace) if not name.startswith("outer."))
    expect(not outside, "names in a trace", "under the scope given", outside)


def modalities_talk(case: Case) -> None:
    """Some modality's output depends on another modality, or nothing was exchanged."""
    for layout in (small.resized(24) for small in case.layouts()):
        part, streams = case.fresh(layout), layout.draw()
        before = case.run(part, streams)
        heard = 0.0
        for name, value in streams.items():
            after = case.run(part, streams | {name: value + layout.draw(1)[name]})
            heard = max([heard, *(gap(after[n], before[n]) for n in before if n != name)])
        expect(heard > 1e-6, f"output for {layout}", "a function of other modalities", "one of its own only")
