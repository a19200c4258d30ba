"""Tensors that a module hides, and changes that a call leaves behind."""

import functools
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fuseloom.testing._walk import fingerprint, loose_tensors, same_fingerprint


@dataclass
class Box:
    inside: Any


class Holder(nn.Module):
    def __init__(self, held: Any) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.register_buffer("mean", torch.zeros(2), persistent=False)
        self.held = held


def scaling(weight: Tensor) -> Any:
    return lambda value: value * weight


def recursive() -> Any:
    """A closure with a cell that is never filled."""
    if False:
        missing = 1
    return lambda: missing


@pytest.mark.parametrize(
    ("held", "path"),
    [
        (torch.ones(2), "held"),
        ([torch.ones(2)], "held.0"),
        ({"a": (1, torch.ones(2))}, "held.a.1"),
        (Box(torch.ones(2)), "held.inside"),
        (Box(torch.ones(2)).__eq__, "held.self.inside"),
        (scaling(torch.ones(2)), "held.closure0"),
        (functools.partial(torch.mul, torch.ones(2)), "held.args.0"),
        ({frozenset([1]): {"b": nn.Parameter(torch.ones(2))}}, "held.frozenset({1}).b"),
    ],
)
def test_a_hidden_tensor_is_found_wherever_it_is(held: Any, path: str) -> None:
    assert loose_tensors(Holder(held)) == [path]


def test_a_module_in_a_list_is_found() -> None:
    assert loose_tensors(Holder([nn.Linear(1, 1)])) == ["held.0.bias", "held.0.weight"]


@pytest.mark.parametrize("held", [None, functional, torch.relu, nn.Linear, recursive(), {"a": [1, "b"]}])
def test_what_holds_no_tensor_is_no_finding(held: Any) -> None:
    assert loose_tensors(Holder(held)) == []


def test_a_registered_tensor_may_be_named_twice_and_loops_end() -> None:
    part = Holder([])
    part.held.extend([part, part.held, part.linear.weight, part.mean])
    assert loose_tensors(part) == []


def test_a_fingerprint_shows_every_change() -> None:
    part = Holder({"count": 0, "box": Box(1.0)})
    before = fingerprint(part)
    assert same_fingerprint(before, fingerprint(part)) == []
    with torch.no_grad():
        part.linear.bias.add_(1)
    part.mean[0] = float("nan")
    part.held["count"], part.held["box"].inside, part.held["new"] = 1, 2.0, None
    changed = same_fingerprint(before, fingerprint(part))
    assert changed == ["held.box.inside", "held.count", "held.new", "linear.bias", "mean"]


def test_equal_nan_and_a_number_of_another_type_are_told_apart() -> None:
    part = Holder([torch.tensor([float("nan")]), 1])
    before = fingerprint(part)
    assert same_fingerprint(before, fingerprint(part)) == []
    part.held[1] = 1.0
    assert same_fingerprint(before, fingerprint(part)) == ["held.1"]
