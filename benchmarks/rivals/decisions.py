"""The merges of decisions, and those whose output is the prediction."""

from collections.abc import Mapping
from functools import reduce

import torch
from torch import Tensor, nn

from rivals._common import Rivals, named_linear, pooled, under
from rivals.additive import PlainConcat, floor_concat
from rivals.sequence import PlainMlp, floor_mlp

__all__ = [
    "RIVALS",
    "PlainLate",
    "PlainLinearLogits",
    "PlainMro",
    "floor_late",
    "floor_linear_logits",
    "floor_mro",
]

_TERM = "terms.part."


class PlainLate(nn.Module):
    """The logits of all modalities, stacked and averaged."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, K]`` each to ``[B, K]``."""
        return [torch.stack([pooled(value) for value in streams.values()]).mean(0)]


class PlainLinearLogits(nn.Module):
    """Two models of the concatenation, a linear map and a perceptron, and the sum of their logits."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.linear = PlainConcat(under(state, "linear."), dims)
        self.nonlinear = PlainMlp(under(state, "nonlinear."), dims)

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        (linear,), (nonlinear,) = self.linear(streams), self.nonlinear(streams)
        return [linear + nonlinear]


class PlainMro(nn.Module):
    """A perceptron on the concatenation of each subset; the sum of all."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.part = nn.ModuleDict(
            {
                subset: nn.Sequential(
                    named_linear(state, f"{_TERM}{subset}.0"),
                    nn.ReLU(),
                    named_linear(state, f"{_TERM}{subset}.2"),
                )
                for subset in _subsets(state)
            }
        )

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        vectors = {name: pooled(value) for name, value in streams.items()}
        first, *rest = (part(_joined(vectors, subset)) for subset, part in self.part.items())
        return [sum(rest, start=first)]


def floor_late(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """Nothing is multiplied; the sum reads every logit once."""
    return [reduce(torch.add, map(pooled, streams.values()))]


def floor_linear_logits(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """The products of both models."""
    vectors = {name: pooled(value) for name, value in streams.items()}
    linear = floor_concat(under(state, "linear."), vectors)
    return [*linear, *floor_mlp(under(state, "nonlinear."), vectors)]


def floor_mro(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """Two products per subset."""
    vectors = {name: pooled(value) for name, value in streams.items()}
    out = []
    for subset in _subsets(state):
        first, second = (state[f"{_TERM}{subset}.{layer}.weight"].T for layer in (0, 2))
        out.append(torch.mm(torch.mm(_joined(vectors, subset), first), second))
    return out


RIVALS: Rivals = {
    "late": (PlainLate, floor_late),
    "linear_logits": (PlainLinearLogits, floor_linear_logits),
    "mro": (PlainMro, floor_mro),
}


def _subsets(state: Mapping[str, Tensor]) -> list[str]:
    """Names of the terms, modalities joined by a plus."""
    return list(dict.fromkeys(key.removeprefix(_TERM).split(".")[0] for key in state))


def _joined(vectors: Mapping[str, Tensor], subset: str) -> Tensor:
    return torch.cat([vectors[name] for name in subset.split("+")], 1)
