"""What runners of whole networks of two streams have in common."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fuseloom.testing.goldens._case import Given, gradients, leaf
from fuseloom.types import Streams

__all__ = ["NAMES", "called", "of_sum", "parameters", "streams_of", "training", "under", "weights_of"]

NAMES = ("x0", "x1")


def called(part: nn.Module, state: Mapping[str, Tensor], inputs: Sequence[object], **reads: object) -> Any:
    """Loading refuses what does not fit; calling with the state lets gradients reach official weights."""
    part.load_state_dict({name: value.detach() for name, value in state.items()})
    return functional_call(part, dict(state), tuple(inputs), reads, strict=True)


def training(given: Given) -> bool:
    return str(given.mode).startswith("train")


def streams_of(given: Given) -> Streams:
    return {name: leaf(given.inputs[name]) for name in NAMES}


def weights_of(given: Given) -> dict[str, Tensor]:
    """Copies: training changes running statistics in place."""
    return {
        name: value.clone() if ".running_" in name or not value.is_floating_point() else leaf(value)
        for name, value in given.weights.under("").items()
    }


def parameters(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"weight.{name}": value for name, value in weights.items() if value.requires_grad}


def under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def of_sum(terms: Sequence[Tensor], sources: Mapping[str, Tensor]) -> dict[str, Tensor]:
    total = torch.stack(list(terms)).sum()
    return gradients(total, torch.ones_like(total), sources)
