"""Clauses on how modalities interact: the claimed order, and symmetry.

The mixed difference ``f(a, b) - f(a', b) - f(a, b') + f(a', b')`` vanishes everywhere just where ``f`` is
a sum of functions of one modality each. A multiplicative part is, besides, affine in each embedding.
"""

from itertools import combinations

import torch
from torch import nn

from fuseloom.testing._case import Case, Layout
from fuseloom.testing._expect import FLOAT64, expect, expect_close
from fuseloom.testing._precision import cast
from fuseloom.types import Streams

__all__ = ["interaction_as_claimed", "symmetry_as_claimed"]

_SHARE = 0.3


def interaction_as_claimed(case: Case) -> None:
    """The claimed order of interaction is reached and not exceeded, measured in float64 on every rank."""
    claimed = case.card.interaction
    layouts = [layout.resized(16) for layout in case.pure_layouts([n for n in case.counts() if n <= 3])]
    mixed = max(_mixed_difference(case, layout) for layout in layouts)
    if claimed == "additive":
        expect(mixed <= FLOAT64, "mixed difference of an additive part", "zero", f"{mixed:.1g}")
        return
    expect(mixed > FLOAT64, f"mixed difference of a {claimed} part", "non-zero", f"{mixed:.1g}")
    if claimed == "multiplicative":
        bends = [_bend(case, layout) for layout in layouts if not any(layout.positions.values())]
        bend = max(bends, default=0.0)
        expect(
            bend <= FLOAT64, "multiplicative part", "affine in each embedding", f"one that is {bend:.1g} off"
        )
    else:
        bend = max(_bend(case, layout) for layout in layouts)
        expect(bend > FLOAT64, "nonlinear part", "more than multiplicative", "one affine in each modality")


def _mixed_difference(case: Case, layout: Layout) -> float:
    """Largest mixed difference over pairs of modalities, relative to the largest output."""
    part, first, second = _doubles(case, layout)
    largest = 0.0
    for a, b in combinations(layout.dims, 2):
        corners = [
            case.run(part, first | {a: x[a], b: y[b]}) for x in (first, second) for y in (first, second)
        ]
        for name, base in corners[0].items():
            mixed = base - corners[1][name] - corners[2][name] + corners[3][name]
            largest = max(largest, _share(mixed, base))
    return largest


def _bend(case: Case, layout: Layout) -> float:
    """Largest departure from an affine function of one modality, relative to the largest output."""
    part, first, second = _doubles(case, layout)
    largest = 0.0
    for name in layout.dims:
        between = _SHARE * first[name] + (1 - _SHARE) * second[name]
        ends = case.run(part, first), case.run(part, first | {name: second[name]})
        for key, value in case.run(part, first | {name: between}).items():
            straight = _SHARE * ends[0][key] + (1 - _SHARE) * ends[1][key]
            largest = max(largest, _share(value - straight, value))
    return largest


def _share(difference: torch.Tensor, whole: torch.Tensor) -> float:
    return float(difference.detach().abs().max() / whole.detach().abs().max().clamp(min=1e-30))


def _doubles(case: Case, layout: Layout) -> tuple[nn.Module, Streams, Streams]:
    part = case.fresh(layout).double()
    return part, cast(layout.draw(0), torch.float64), cast(layout.draw(1), torch.float64)


def symmetry_as_claimed(case: Case) -> None:
    """Where the card claims symmetry, two modalities of equal parameters can swap their values."""
    if not case.card.symmetric:
        return
    for layout in case.pure_layouts([n for n in case.counts() if n > 1], uniform=True):
        part, streams, masks = case.fresh(layout), layout.draw(), layout.gap_masks()
        _equalise(part, list(layout.dims))
        a, b = list(layout.dims)[:2]
        swapped = case.run(part, _swap(streams, a, b), _swap(masks, a, b))
        output = case.run(part, streams, masks)
        expected = _swap(output, a, b) if case.kind == "exchange" else output
        expect_close(swapped, expected, f"with {a} and {b} swapped, for {layout}")


def _swap(values: Streams, a: str, b: str) -> Streams:
    return values | {a: values[b], b: values[a]}


def _equalise(part: nn.Module, names: list[str]) -> None:
    """Give parameters that differ only in the modality they are named after the same values."""
    first: dict[str, torch.Tensor] = {}
    state = part.state_dict()
    for key, value in state.items():
        state[key] = first.setdefault(_without_names(key, names), value).clone()
    part.load_state_dict(state)


def _without_names(key: str, names: list[str]) -> str:
    return ".".join(
        "_from_".join("*" if word in names else word for word in segment.split("_from_"))
        for segment in key.split(".")
    )
