"""Clauses on learning: every input and every parameter is reached, and each parameter moves."""

from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from fuseloom.testing._case import Case, Layout
from fuseloom.testing._differentiate import differentiate, traced_score
from fuseloom.testing._expect import expect, expect_equal
from fuseloom.types import Trace

__all__ = [
    "gradient_reaches_inputs",
    "gradient_reaches_parameters",
    "inert_without_influence",
    "parameters_learn",
]


def gradient_reaches_inputs(case: Case) -> None:
    """Every modality's values receive a gradient, with masks and without."""
    for layout in case.layouts():
        large = layout.resized(24)
        for masks in (None, large.gap_masks()):
            found = differentiate(case, case.fresh(layout), large.draw(), masks, trace=Trace()).inputs
            missed = sorted(name for name in layout.dims if not _reached(found.get(name)))
            expect(not missed, f"gradient for {layout}", "non-zero for every modality", f"none for {missed}")


def gradient_reaches_parameters(case: Case) -> None:
    """Every parameter receives a gradient on some ranks, but for those the card calls inert."""
    wanted, reached = set(), set()
    for layout in case.layouts():
        part, large = case.fresh(layout), layout.resized(24)
        found = differentiate(case, part, large.draw(), large.gap_masks(), trace=Trace()).parameters
        wanted |= {name for name, value in part.named_parameters() if value.requires_grad}
        reached |= {name for name, gradient in found.items() if _reached(gradient)}
    missed = sorted(name for name in wanted - reached if not _inert(case, name))
    expect(not missed, "gradient", "non-zero for every parameter", f"none for {missed}")


def parameters_learn(case: Case) -> None:
    """One step of an optimiser changes every parameter on some ranks, but for those the card calls inert."""
    stuck: set[str] = set()
    moved: set[str] = set()
    for layout in case.layouts():
        part, large = case.fresh(layout).train(), layout.resized(24)
        before = {name: value.detach().clone() for name, value in part.named_parameters()}
        if before:
            _step(case, part, large)
        for name, value in part.named_parameters():
            (stuck if value.equal(before[name]) else moved).add(name)
    unmoved = sorted(name for name in stuck - moved if not _inert(case, name))
    expect(not unmoved, "parameters after a step", "changed, or claimed inert", f"{unmoved} unchanged")


def _step(case: Case, part: nn.Module, layout: Layout) -> None:
    trace = Trace()
    loss = traced_score(case.run(part, layout.draw(), layout.gap_masks(), trace=trace), trace)
    expect(loss.requires_grad, "loss", "differentiable", "one without a gradient")
    torch.autograd.backward(loss)
    torch.optim.SGD(part.parameters(), lr=0.1).step()


def inert_without_influence(case: Case) -> None:
    """What the card calls inert exists and has no influence on the result."""
    layout = case.main_layout()
    part, streams, masks = case.fresh(layout), layout.draw(), layout.gap_masks()
    names = [name for name, _ in part.named_parameters()]
    absent = sorted(p for p in case.card.inert if not any(fnmatchcase(name, p) for name in names))
    expect(not absent, "inert", "names or patterns of parameters", absent)
    expected = case.run(part, streams, masks)
    with torch.no_grad():
        for name, parameter in part.named_parameters():
            if _inert(case, name):
                parameter.add_(1)
    expect_equal(case.run(part, streams, masks), expected, "after a change of the inert parameters")


def _inert(case: Case, name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in case.card.inert)


def _reached(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(gradient.abs().max() > 0)
