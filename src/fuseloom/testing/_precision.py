"""Clauses on precision: float64, float32 and bfloat16, mixed streams and autocast."""

import copy

import torch
from torch import nn

from fuseloom.testing._case import Case, Layout
from fuseloom.testing._differentiate import differentiate
from fuseloom.testing._expect import LOW, expect, expect_close, expect_finite
from fuseloom.types import Streams

__all__ = ["autocast_follows", "cast", "double_runs", "low_precision_follows", "mixed_dtypes_accepted"]


def cast(streams: Streams, dtype: torch.dtype) -> Streams:
    """The streams in another dtype."""
    return {name: value.to(dtype) for name, value in streams.items()}


def double_runs(case: Case) -> None:
    """In float64 the result is float64, and float32 follows it."""
    for layout in case.layouts():
        part, streams, masks = case.fresh(layout), layout.draw(), layout.gap_masks()
        exact = case.run(copy.deepcopy(part).double(), cast(streams, torch.float64), masks)
        _expect_dtype(exact, torch.float64, layout)
        found = case.run(part, streams, masks)
        expect_close(found, exact, f"in float32 beside float64, for {layout}")


def low_precision_follows(case: Case) -> None:
    """In bfloat16 the result is bfloat16 and, unless the part selects discretely, follows float64."""
    for layout in case.layouts():
        part = case.fresh(layout).bfloat16()
        streams, masks = cast(layout.draw(), torch.bfloat16), layout.gap_masks()
        found = case.run(part, streams, masks)
        _expect_dtype(found, torch.bfloat16, layout)
        expect_finite(found, f"in bfloat16, for {layout}")
        if not case.card.discrete:
            exact = case.run(copy.deepcopy(part).double(), cast(streams, torch.float64), masks)
            expect_close(found, exact, f"in bfloat16 beside float64, for {layout}", tolerance=LOW)


def mixed_dtypes_accepted(case: Case) -> None:
    """Streams of one call may differ in dtype; an exchange gives each back in its own."""
    for layout in case.layouts():
        part, masks = case.fresh(layout), layout.gap_masks()
        streams = cast(layout.draw(), torch.bfloat16)
        expected = case.run(part, cast(streams, torch.float32), masks)
        last = list(streams)[-1]
        for dtype in (torch.float32, torch.float64):
            mixed = streams | {last: streams[last].to(dtype)}
            found = case.run(part, mixed, masks)
            _expect_kept_dtypes(case, found, mixed)
            rounded = {n: v.to(found[n].dtype) for n, v in expected.items()}
            expect_close(found, rounded, f"of bfloat16 and {dtype} streams, for {layout}", tolerance=LOW)


def _expect_kept_dtypes(case: Case, found: Streams, mixed: Streams) -> None:
    if case.kind == "exchange":
        for name, value in found.items():
            expect(value.dtype == mixed[name].dtype, f"dtype of {name}", str(mixed[name].dtype), value.dtype)


def _expect_dtype(found: Streams, dtype: torch.dtype, layout: Layout) -> None:
    for name, value in found.items():
        expect(value.dtype == dtype, f"dtype of {name} for {layout}", str(dtype), value.dtype)


def autocast_follows(case: Case) -> None:
    """Under bfloat16 autocast a float32 part runs, forward and backward, and follows float32."""
    for layout in case.layouts():
        expect_autocast(case, case.fresh(layout), layout, torch.bfloat16, "cpu")


def expect_autocast(case: Case, part: nn.Module, layout: Layout, dtype: torch.dtype, device: str) -> None:
    """Raise unless autocast on a device runs and follows float32."""
    streams = {name: value.to(device) for name, value in layout.draw().items()}
    masks = {name: mask.to(device) for name, mask in layout.gap_masks().items()}
    expected = case.run(part, streams, masks)
    with torch.autocast(device, dtype):
        found = differentiate(case, part, streams, masks)
    expect_finite(found.output, f"under autocast, for {layout}")
    expect_finite(found.all(), f"gradient under autocast, for {layout},")
    if not case.card.discrete:
        expect_close(found.output, expected, f"under autocast, for {layout}", tolerance=LOW)
