"""Clauses on masks: True is real, values under False are arbitrary, a sample may lack everything."""

import torch
from torch import Tensor, nn

from fuseloom.testing._case import Case, Layout
from fuseloom.testing._differentiate import differentiate
from fuseloom.testing._expect import expect, expect_close, expect_equal, expect_finite, gap
from fuseloom.types import Masks, Streams, Trace

__all__ = [
    "empty_sample_finite",
    "fill_masked",
    "full_mask_is_no_mask",
    "mask_matters",
    "masked_values_ignored",
    "zero_under_mask",
]

_ARBITRARY = (float("nan"), float("inf"), float("-inf"), -1e30, 7.0)


def masked_values_ignored(case: Case) -> None:
    """Values under False change no bit of output or gradients, whatever they are, NaN and inf included."""
    for layout in case.layouts():
        part, streams, masks = case.fresh(layout), layout.draw(), layout.gap_masks()
        expected = differentiate(case, part, fill_masked(streams, masks, 0.0), masks, trace=Trace())
        for value in _ARBITRARY:
            found = differentiate(case, part, fill_masked(streams, masks, value), masks, trace=Trace())
            what = f"with {value} under False, for {layout},"
            expect_equal(found.output, expected.output, what)
            expect(found.all().keys() == expected.all().keys(), f"gradients {what}", "the same", "others")
            expect_equal(found.all(), expected.all(), f"gradient {what}")
        for name, gradient in expected.inputs.items():
            leaked = gradient.masked_select(~spread(masks[name], gradient))
            expect(not leaked.any(), f"gradient of {name} under False", "zero", "another value")


def fill_masked(streams: Streams, masks: Masks, value: float) -> Streams:
    """The streams with ``value`` wherever their mask is False."""
    return {name: v.masked_fill(~spread(masks[name], v), value) for name, v in streams.items()}


def spread(mask: Tensor, value: Tensor) -> Tensor:
    """A mask expanded over the features of its value."""
    return mask.unsqueeze(1 if value.dim() == 4 else -1).expand_as(value)


def full_mask_is_no_mask(case: Case) -> None:
    """A mask that is True everywhere, no mask, and no entry for a modality give the same result."""
    for layout in case.layouts():
        part, streams = case.fresh(layout), layout.draw()
        full = {name: torch.ones_like(mask) for name, mask in layout.draw_masks().items()}
        first = next(iter(full))
        expected = case.run(part, streams)
        for masks in (full, {}, {first: full[first]}):
            expect_close(
                case.run(part, streams, masks), expected, f"with {len(masks)} full masks, for {layout}"
            )


def mask_matters(case: Case) -> None:
    """Hiding part of a modality changes the result of what is still there.

    In a merge this holds of every modality; in an exchange, which may have one direction, of one at least.
    """
    # Many samples: a part that selects may not have chosen what is hidden in a few.
    for layout in (small.resized(24) for small in case.layouts()):
        part, streams, masks = case.fresh(layout), layout.draw(), layout.gap_masks()
        shown = case.run(part, streams)
        effects = {}
        for name, mask in masks.items():
            hidden = case.run(part, streams, {name: mask})
            effects[name] = max(_effect(hidden[n], shown[n], mask if n == name else None) for n in shown)
        ignored = sorted(name for name, effect in effects.items() if effect <= 1e-6)
        some = len(ignored) < len(effects) if case.kind == "exchange" else not ignored
        expect(some, f"result for {layout}", "changed by a mask", f"none from masks of {ignored}")


def _effect(hidden: Tensor, shown: Tensor, mask: Tensor | None) -> float:
    if mask is None:
        return gap(hidden, shown)
    kept = spread(mask, shown)
    return gap(hidden.masked_select(kept), shown.masked_select(kept))


def empty_sample_finite(case: Case) -> None:
    """A sample, or a batch, that lacks every modality gives finite output and gradients, also in training."""
    for layout in case.layouts():
        part = case.fresh(layout)
        nothing = {name: torch.zeros_like(mask) for name, mask in layout.draw_masks().items()}
        for masks in (layout.gap_masks(), nothing):
            _expect_finite_everywhere(case, part.eval(), layout, masks)
            _expect_finite_everywhere(case, part.train(), layout, masks)


def _expect_finite_everywhere(case: Case, part: nn.Module, layout: Layout, masks: Masks) -> None:
    found = differentiate(case, part, layout.draw(), masks, trace=Trace())
    mode = "training" if part.training else "evaluation"
    expect_finite(found.output, f"of empty samples in {mode}, for {layout},")
    expect_finite(found.all(), f"gradient of empty samples in {mode}, for {layout},")


def zero_under_mask(case: Case) -> None:
    """The output of an exchange is zero under False."""
    for layout in case.layouts():
        masks = layout.gap_masks()
        for name, value in case.run(case.fresh(layout), layout.draw(), masks).items():
            rest = value.masked_select(~spread(masks[name], value))
            expect(not rest.any(), f"{name} under False, for {layout},", "zero", "another value")
