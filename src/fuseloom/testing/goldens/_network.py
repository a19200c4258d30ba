"""What runners of whole networks of two streams have in common."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from fuseloom.testing.goldens._case import Given, gradients, leaf
from fuseloom.types import Streams

__all__ = [
    "NAMES",
    "OUTPUTS",
    "STAGES",
    "called",
    "drawn",
    "of_sum",
    "parameters",
    "streams_of",
    "training",
    "under",
    "weights_of",
]

NAMES = ("x0", "x1")
STAGES = ("c1", "c2", "c3", "c4")
OUTPUTS = ("rgb", "depth", "ens")


def called(part: nn.Module, state: Mapping[str, Tensor], inputs: Sequence[object], **reads: object) -> Any:
    """Loading refuses what does not fit; calling with the state lets gradients reach official weights."""
    part.load_state_dict({name: value.detach() for name, value in state.items()})
    made = {name: value for name, value in part.named_buffers() if name not in state}  # not stored
    return functional_call(part, {**made, **state}, tuple(inputs), reads, strict=True)


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


def drawn(name: str, like: Tensor) -> Tensor:
    """A hash of the name and the place of each value, made as large as a weight of its kind.

    Whole numbers, as of a buffer, stay as they are. Full-size cases state this rule for their weights.
    """
    if not like.is_floating_point():
        return like
    shape = like.shape
    mixed = np.arange(shape.numel(), dtype=np.uint32) * np.uint32(2654435761)
    mixed += np.uint32(zlib.crc32(name.encode()))
    for shift, factor in ((16, 2246822519), (13, 3266489917)):
        mixed = (mixed ^ (mixed >> np.uint32(shift))) * np.uint32(factor)
    mixed ^= mixed >> np.uint32(16)
    unit = mixed.astype(np.float64) / 2.0**32 - 0.5
    if "k_noise" in name or "v_noise" in name or name.endswith("relative_position_bias_table"):
        values = unit
    elif name.endswith("alpha"):
        values = 2 * unit
    elif name.endswith("running_var"):
        values = 1 + 0.5 * unit
    elif len(shape) > 1:
        values = unit * 2 * np.sqrt(3) / np.sqrt(shape[1:].numel())
    elif name.endswith("weight"):
        values = 1 + 0.4 * unit
    else:
        values = 0.2 * unit
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)
