"""Clauses on state: what a part holds can be seeded, saved, loaded and copied."""

import copy

import torch
from safetensors import torch as safetensors
from torch import nn

from fuseloom.testing._case import Case, Layout
from fuseloom.testing._expect import expect, expect_equal
from fuseloom.testing._walk import loose_tensors
from fuseloom.types import Streams, Trace

__all__ = [
    "deepcopy_equal",
    "keys_survive_new_modality",
    "safetensors_round_trip",
    "same_seed_same_part",
    "state_round_trip",
    "tensors_registered",
]


def same_seed_same_part(case: Case) -> None:
    """Equal seeds of torch's global generator give equal parts, and equal results in training."""
    layout = case.main_layout()
    states, outputs = [], []
    for _ in range(2):
        torch.default_generator.manual_seed(3)
        part = case.build(dict(layout.dims)).train()
        states.append({name: value.clone() for name, value in part.state_dict().items()})
        outputs.append(case.run(part, layout.draw(), layout.gap_masks(), trace=Trace()))
    expect_equal(states[1], states[0], "of a part built from the same seed")
    expect_equal(outputs[1], outputs[0], "of a part built from the same seed, in training")


def state_round_trip(case: Case) -> None:
    """A fresh part that loads a state dict gives the same result."""
    layout = case.main_layout()
    part, other = case.fresh(layout), case.fresh(layout, 1)
    other.load_state_dict(part.state_dict())
    _expect_twins(case, other, part, layout, "of a fresh part with the same state dict")


def deepcopy_equal(case: Case) -> None:
    """A deep copy gives the same result, and shares no tensor with the original."""
    layout = case.main_layout()
    part = case.fresh(layout)
    twin = copy.deepcopy(part)
    _expect_twins(case, twin, part, layout, "of a deep copy")
    held = {value.data_ptr() for value in part.state_dict().values() if value.numel()}
    shared = sorted(n for n, v in twin.state_dict().items() if v.numel() and v.data_ptr() in held)
    expect(not shared, "tensors of a deep copy", "its own", f"shared {shared}")


def safetensors_round_trip(case: Case) -> None:
    """The state goes through the bytes of a safetensors file and back."""
    layout = case.main_layout()
    part, other = case.fresh(layout), case.fresh(layout, 1)
    other.load_state_dict(safetensors.load(safetensors.save(part.state_dict())))
    _expect_twins(case, other, part, layout, "after a round trip through safetensors")


def _expect_twins(case: Case, twin: nn.Module, part: nn.Module, layout: Layout, what: str) -> None:
    streams, masks = layout.draw(), layout.gap_masks()
    expect_equal(_detached(case.run(twin, streams, masks)), case.run(part, streams, masks), what)


def _detached(output: Streams) -> Streams:
    return {name: value.detach() for name, value in output.items()}


def tensors_registered(case: Case) -> None:
    """Every tensor a part holds is a parameter or buffer: lists, dicts and closures hide it from optimisers.

    A tensor that is no parameter belongs in a buffer, or it stays behind when the part moves or is saved.
    """
    layout = case.main_layout()
    part = case.fresh(layout)
    case.run(part, layout.draw(), layout.gap_masks())
    loose = loose_tensors(part)
    expect(not loose, "tensors of the part", "registered as parameters or buffers", f"loose ones in {loose}")


def keys_survive_new_modality(case: Case) -> None:
    """The keys of the state dict of fewer modalities are all there with one more."""
    for count in case.counts()[1:]:
        layout = case.layout([case.card.ranks[0]] * count)
        fewer = dict(list(layout.dims.items())[:-1])
        lost = case.build(fewer).state_dict().keys() - case.build(dict(layout.dims)).state_dict().keys()
        expect(
            not lost, f"state dict of {count} modalities", "one that keeps the keys of fewer", sorted(lost)
        )
